//! The scripts that run in Redis. Each is atomic there, and knows all its keys beforehand, or makes them of a prefix that
//! lies in the same slot.

use redis::{Cmd, Script};

/// A script.
pub(super) struct Known {
    code: String,
    script: Script,
}

macro_rules! scripts {
    ($($name:ident),*) => {
        /// All scripts.
        pub(super) struct Scripts {
            $(pub $name: Known,)*
        }

        impl Scripts {
            /// Those that publish do it by this command.
            pub fn new(publish: &str) -> Self {
                Self {
                    $($name: Known::new(include_str!(concat!("scripts/", stringify!($name), ".lua")), publish),)*
                }
            }

            /// One after the other.
            pub fn all(&self) -> impl Iterator<Item = &Known> {
                [$(&self.$name,)*].into_iter()
            }
        }
    };
}

scripts!(
    open, publish, read, mark, keep, claim, part, enter, exit, empty, beat, nodes, members, rooms, tend
);

impl Known {
    fn new(code: &str, publish: &str) -> Self {
        let code = code.replace("'PUBLISH'", &format!("'{publish}'"));
        let script = Script::new(&code);
        Self { code, script }
    }

    /// The command that loads it.
    pub fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(&self.code);
        cmd
    }

    /// The command that runs it; keys and arguments follow.
    pub fn call(&self, keys: usize) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(self.script.get_hash()).arg(keys);
        cmd
    }
}
