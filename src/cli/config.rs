//! `greenroom config`: is it right, and what is in force?

use std::process::ExitCode;

use super::out;
use super::settings::Settings;

/// Check the configuration, or show what is in force
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Say "ok", or everything that is wrong and what is allowed
    Check(#[command(flatten)] Settings),
    /// Print the configuration in force, secrets as ***
    Show {
        #[command(flatten)]
        settings: Settings,
        /// As JSON, with null for what is not set
        #[arg(long)]
        json: bool,
    },
}

/// Checks or shows.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Check(settings) => {
            for warning in settings.load()?.warnings {
                out::note(format_args!("warning: {warning}"));
            }
            out::line("ok")?;
        }
        Command::Show { settings, json } => {
            let config = settings.load()?.config;
            match json {
                true => out::line(serde_json::to_string_pretty(&config)?)?,
                false => out::line(toml::to_string(&config)?.trim_end())?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
