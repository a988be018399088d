//! Server-sent events: bytes in, messages out, however the bytes are cut into chunks. Pure.
//!
//! After the WHATWG standard, section "Interpreting an event stream".

use thiserror::Error;

/// Bytes that a line, or the data of one message, may have.
const LONGEST: usize = 16 * 1_024 * 1_024;

/// What a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Message(Message),
    /// How many milliseconds to wait before coming back after a cut.
    Retry(u64),
}

/// A message that was ended by an empty line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name; `message` where it has none.
    pub event: String,
    /// Its data lines, joined by line breaks.
    pub data: String,
    /// The last id that the stream gave, with this message or before.
    pub id: Option<String>,
}

/// A line or a message without end.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the stream sent a message of more than {LONGEST} bytes")]
pub struct TooLong;

/// A stream that is being read.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line so far, without its end.
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    /// Past the first line, which may begin with a byte order mark.
    begun: bool,
    event: String,
    data: Option<String>,
    id: Option<String>,
}

impl Parser {
    /// Reads a chunk; what it completes comes back.
    pub fn read(&mut self, chunk: &[u8]) -> Result<Vec<Item>, TooLong> {
        let mut items = Vec::new();
        for &byte in chunk {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => items.extend(self.end_line()?),
                _ if self.line.len() >= LONGEST => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(items)
    }

    fn end_line(&mut self) -> Result<Option<Item>, TooLong> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let marked = !std::mem::replace(&mut self.begun, true);
        let line = line.strip_prefix('\u{feff}').filter(|_| marked).unwrap_or(&line);
        if line.is_empty() {
            return Ok(self.end_message());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => self.add_data(value)?,
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Ok(value.parse().ok().map(Item::Retry));
            }
            // A comment, or a field of a later standard.
            _ => {}
        }
        Ok(None)
    }

    fn add_data(&mut self, value: &str) -> Result<(), TooLong> {
        let data = match &mut self.data {
            Some(data) => {
                data.push('\n');
                data
            }
            none => none.insert(String::new()),
        };
        data.push_str(value);
        if data.len() > LONGEST {
            Err(TooLong)
        } else {
            Ok(())
        }
    }

    fn end_message(&mut self) -> Option<Item> {
        let event = std::mem::take(&mut self.event);
        let data = self.data.take()?;
        let event = if event.is_empty() {
            "message".to_owned()
        } else {
            event
        };
        // An empty id means none, by the standard.
        let id = self.id.clone().filter(|id| !id.is_empty());
        Some(Item::Message(Message { event, data, id }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<Item> {
        Parser::default().read(text.as_bytes()).unwrap()
    }

    fn message(event: &str, data: &str, id: Option<&str>) -> Item {
        Item::Message(Message {
            event: event.to_owned(),
            data: data.to_owned(),
            id: id.map(str::to_owned),
        })
    }

    #[test]
    fn a_message_has_name_data_and_id() {
        let items = read("retry: 3000\n\n: comment\n\nid: 7\nevent: agent-thought\ndata: {\"a\":1}\n\n");
        assert_eq!(
            items,
            [
                Item::Retry(3_000),
                message("agent-thought", "{\"a\":1}", Some("7"))
            ]
        );
    }

    #[test]
    fn data_lines_are_joined_and_one_space_is_dropped() {
        assert_eq!(
            read("data:  a\ndata\ndata:b\n\n"),
            [message("message", " a\n\nb", None)]
        );
    }

    #[test]
    fn an_id_holds_until_the_next_one() {
        let items = read("id:1\ndata:a\n\ndata:b\n\nid\ndata:c\n\n");
        assert_eq!(
            items,
            [
                message("message", "a", Some("1")),
                message("message", "b", Some("1")),
                message("message", "c", None)
            ]
        );
    }

    #[test]
    fn what_has_no_data_or_no_end_is_no_message() {
        assert_eq!(read("event: x\n\nid: 1\n\ndata: cut off\n"), []);
        assert_eq!(read("event: x\n\ndata: a\n\n"), [message("message", "a", None)]);
    }

    #[test]
    fn what_is_not_a_number_is_no_retry() {
        assert_eq!(
            read("retry: 1s\nretry:\nretry: -1\nretry: 99999999999999999999999\n"),
            []
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_beginning_only() {
        assert_eq!(read("\u{feff}data:a\n\n"), [message("message", "a", None)]);
        assert_eq!(read("\n\u{feff}data:a\n\n"), []);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        let chunk = vec![b'a'; LONGEST];
        assert_eq!(parser.read(&chunk), Ok(vec![]));
        assert_eq!(parser.read(b"a"), Err(TooLong));
        assert_eq!(parser.line.len(), LONGEST);
    }

    /// Reads the bytes in chunks that end at these places.
    fn read_in_chunks(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Item> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let mut parser = Parser::default();
        places
            .windows(2)
            .flat_map(|ends| parser.read(&bytes[ends[0]..ends[1]]).unwrap())
            .collect()
    }

    fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
        prop::collection::vec(any::<prop::sample::Index>(), 0..20)
    }

    /// A message's name, lines of data, and id.
    type Parts = (String, Vec<String>, String);

    fn written() -> impl Strategy<Value = (Vec<Parts>, Vec<u8>)> {
        let text = "[^\r\n\0]{0,12}";
        let line = prop::sample::select(vec!["\n", "\r", "\r\n"]);
        let message = ("[a-z-]{1,8}", prop::collection::vec(text, 1..4), "[a-z0-9]{1,6}");
        prop::collection::vec((message, line), 0..8).prop_map(|messages| {
            let mut bytes = String::new();
            for ((event, data, id), end) in &messages {
                let data: String = data.iter().map(|line| format!("data: {line}{end}")).collect();
                // A comment in between: after a bare return, the next line must not begin with a line feed.
                bytes += &format!("id: {id}{end}event: {event}{end}:{end}{data}{end}");
            }
            (
                messages.into_iter().map(|(message, _)| message).collect(),
                bytes.into_bytes(),
            )
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_is_cut((messages, bytes) in written(), cuts in cuts()) {
            let expected: Vec<Item> =
                messages.iter().map(|(event, data, id)| message(event, &data.join("\n"), Some(id))).collect();
            prop_assert_eq!(read_in_chunks(&bytes, &cuts), expected);
        }

        #[test]
        fn any_bytes_read_the_same_however_they_are_cut(
            bytes in prop::collection::vec(prop::sample::select(b"\r\n: dataeventidretry0\xef\xbb\xbf\xff".to_vec()), 0..300),
            cuts in cuts(),
        ) {
            prop_assert_eq!(read_in_chunks(&bytes, &cuts), read_in_chunks(&bytes, &[]));
        }
    }
}
