//! Logging to standard error, and panics as a part of it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::{self, PanicHookInfo};
use std::thread;

use thiserror::Error;
use tracing::field::display;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, registry};

use crate::actors::supervise;
use crate::config::sections::{Log, LogFormat};

/// What panics are logged under.
const PANIC: &str = "greenroom::panic";

/// Why logging could not begin.
#[derive(Debug, Error)]
pub enum InitError {
    /// `log.level` is no filter; a configuration that was loaded or validated never gets here.
    #[error("log.level: {0}")]
    Level(#[from] ParseError),
    /// Something else in this process logs already.
    #[error("logging was begun before: {0}")]
    Taken(#[from] TryInitError),
}

/// Begins to log to standard error, and to report panics there. `worker` names the supervised worker that
/// runs on the current thread; it is called in the panic hook and must not panic itself.
pub fn init(log: &Log, worker: fn() -> Option<String>) -> Result<(), InitError> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    subscriber(log, std::io::stderr, colours)?.try_init()?;
    report_panics(worker);
    Ok(())
}

/// What writes the lines of the log.
fn subscriber<W>(log: &Log, writer: W, colours: bool) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A line for every request that is none would let strangers fill the disk. Named in `log.level`, it is told.
    let quiet = if log.level.contains("actix_http") {
        ""
    } else {
        ",actix_http::h1=off"
    };
    let filter = EnvFilter::try_new(format!("{}{quiet}", log.level))?;
    // It would tell of a line that cannot be written on the same standard error, and panic when that fails
    // too.
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(colours)
        .log_internal_errors(false);
    Ok(match log.format {
        LogFormat::Pretty => Box::new(registry().with(filter).with(lines)),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            Box::new(registry().with(filter).with(lines))
        }
    })
}

/// Each panic is reported once: as a line of the log, or, where the filter drops that, by the hook that was
/// there.
fn report_panics(worker: fn() -> Option<String>) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        supervise::note_panic(panic);
        if tracing::enabled!(target: PANIC, Level::ERROR) {
            log_panic(panic, worker().as_deref());
        } else {
            previous(panic);
        }
    }));
}

fn log_panic(panic: &PanicHookInfo<'_>, worker: Option<&str>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let message = text
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("(no text)");
    let location = panic.location().map(display);
    let current = thread::current();
    let backtrace = Backtrace::capture();
    let captured = (backtrace.status() == BacktraceStatus::Captured).then(|| display(&backtrace));
    tracing::error!(
        target: PANIC,
        location,
        thread = current.name().unwrap_or("unnamed"),
        worker,
        backtrace = captured,
        "panicked: {message}"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let log = Log {
            format,
            level: level.to_owned(),
        };
        with_default(subscriber(&log, move || writer.clone(), false).unwrap(), || {
            let _span = tracing::info_span!("worker", worker = "bridge").entered();
            tracing::info!(room = "agent:42", "joined");
            tracing::debug!("hidden");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn pretty_lines_are_for_people() {
        let text = logged(LogFormat::Pretty, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("INFO worker{worker=\"bridge\"}"), "{text}");
        assert!(text.trim_end().ends_with("joined room=\"agent:42\""), "{text}");
    }

    #[test]
    fn json_lines_are_objects_with_the_span_they_were_written_in() {
        let text = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (line["message"].as_str(), line["room"].as_str()),
            (Some("joined"), Some("agent:42"))
        );
        assert_eq!(line["span"]["worker"], "bridge");
    }

    #[test]
    fn directives_choose_by_module() {
        assert_eq!(logged(LogFormat::Pretty, "off"), "");
        assert_eq!(
            logged(LogFormat::Pretty, "error,greenroom=debug").lines().count(),
            2
        );
    }
}
