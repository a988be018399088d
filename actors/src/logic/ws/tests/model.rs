//! The rules once more, read off RFC 6455 without a thought of speed: the whole stream is there, nothing is
//! cut.

use super::*;

/// What the server's end has to make of these bytes.
pub(super) fn model(mut bytes: &[u8], limits: Limits) -> Outcome {
    let mut events = vec![];
    let mut message: Option<(u8, Vec<u8>)> = None;
    loop {
        match next(bytes, &mut message, limits) {
            Ok(Some((event, rest))) => {
                bytes = rest;
                let closed = matches!(event, Some(Event::Close(..)));
                events.extend(event);
                if closed {
                    return (events, None);
                }
            }
            Ok(None) => return (events, None),
            Err(code) => return (events, Some(code)),
        }
    }
}

type Next<'a> = Result<Option<(Option<Event>, &'a [u8])>, u16>;

/// One frame off the front, if it is whole; the close code if what is there of it already breaks a rule.
fn next<'a>(bytes: &'a [u8], message: &mut Option<(u8, Vec<u8>)>, limits: Limits) -> Next<'a> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (fin, opcode) = (first >> 7 == 1, first & 15);
    let control = opcode >= 8;
    let known = [0, 1, 2, 8, 9, 10].contains(&opcode);
    let in_place = control || (opcode == 0) == message.is_some();
    if first & 0x70 != 0 || !known || !in_place || (control && !fin) {
        return Err(1002);
    }
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second < 0x80 || (control && second & 0x7f > 125) {
        return Err(1002);
    }
    let length_bytes = [(126, 2), (127, 8)]
        .iter()
        .find(|(short, _)| *short == second & 0x7f)
        .map_or(0, |found| found.1);
    let Some(length) = bytes[2..].get(..length_bytes) else {
        return Ok(None);
    };
    let short = if length_bytes == 0 {
        u64::from(second & 0x7f)
    } else {
        0
    };
    let len = length.iter().fold(short, |len, byte| len << 8 | u64::from(*byte));
    if len >> 63 == 1 {
        return Err(1002);
    }
    let before = message.as_ref().map_or(0, |(_, so_far)| so_far.len() as u64);
    if !control && (len > limits.frame_bytes.into() || len + before > limits.message_bytes.into()) {
        return Err(1009);
    }
    let Some(mask) = bytes[2 + length_bytes..].first_chunk::<4>() else {
        return Ok(None);
    };
    let rest = &bytes[6 + length_bytes..];
    let payload: Vec<u8> = rest
        .iter()
        .take(len as usize)
        .zip(mask.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    let whole = payload.len() as u64 == len;
    let event = if control {
        if !whole {
            return Ok(None);
        }
        Some(control_event(opcode, payload)?)
    } else {
        data_event(opcode, payload, fin && whole, message)?
    };
    Ok(whole.then(|| (event, &rest[len as usize..])))
}

fn control_event(opcode: u8, payload: Vec<u8>) -> Result<Event, u16> {
    match (opcode, payload.len()) {
        (9, _) => Ok(Event::Ping(payload)),
        (10, _) => Ok(Event::Pong(payload)),
        (_, 0) => Ok(Event::Close(None, String::new())),
        (_, 1) => Err(1002),
        _ => {
            let code = u16::from(payload[0]) << 8 | u16::from(payload[1]);
            let reserved = [1004, 1005, 1006, 1015].contains(&code);
            if code < 1000 || reserved || (1016..3000).contains(&code) || code >= 5000 {
                return Err(1002);
            }
            String::from_utf8(payload[2..].to_vec())
                .map(|reason| Event::Close(Some(code), reason))
                .or(Err(1007))
        }
    }
}

fn data_event(
    opcode: u8,
    payload: Vec<u8>,
    last: bool,
    message: &mut Option<(u8, Vec<u8>)>,
) -> Result<Option<Event>, u16> {
    let (kind, mut so_far) = message.take().unwrap_or((opcode, vec![]));
    so_far.extend(payload);
    let text = std::str::from_utf8(&so_far);
    match text {
        Err(error) if kind == 1 && (last || error.error_len().is_some()) => return Err(1007),
        _ => {}
    }
    if !last {
        *message = Some((kind, so_far));
        return Ok(None);
    }
    Ok(Some(if kind == 1 {
        Event::Text(String::from_utf8_lossy(&so_far).into_owned())
    } else {
        Event::Binary(so_far)
    }))
}
