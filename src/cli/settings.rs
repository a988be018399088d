//! The flags by which `serve` and `config` choose and change the configuration.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::{Flag, Inputs, Loaded, Problems, load};

/// Flags over environment, file and defaults.
#[derive(clap::Args)]
pub struct Settings {
    /// Configuration file [default: ./config/greenroom.toml, or else /etc/greenroom/greenroom.toml]
    #[arg(long, value_name = "FILE", env = "GREENROOM_CONFIG")]
    config: Option<OsString>,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Set any key of the configuration, such as rooms.history_events=500; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// How lines of the log look: pretty or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Settings {
    /// Puts all layers together.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let flag = |name, key, value: &Option<String>| {
            Some(Flag {
                name,
                key,
                value: value.clone()?,
            })
        };
        let flags = [
            flag("--listen", "listen", &self.listen),
            flag("--log-format", "log.format", &self.log_format),
        ];
        load(&Inputs {
            // As with every variable, an empty GREENROOM_CONFIG counts as none.
            file: self
                .config
                .as_ref()
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            settings: self.settings.clone(),
            flags: flags.into_iter().flatten().collect(),
            ..Inputs::from_process()
        })
    }
}
