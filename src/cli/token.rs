//! `greenroom token`: makes a token that a node takes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use serde_json::json;

use super::granting::{Granting, seconds_from_now};
use super::{out, settings::Settings};
use crate::actors::logic::access::{Audience, Claims, Expected};
use crate::auth::tokens::Signer;

/// Make a token, for tests and for agents
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    granting: Granting,
    /// Seconds for which it holds
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    ttl: u64,
    /// File with the private key to sign it with, in PEM [default: auth.jwt_secret of the configuration]
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Name of that key in the node's set of keys
    #[arg(long, requires = "private_key")]
    kid: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Makes a token for the issuer and audience of the configuration, and prints it.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let auth = args.settings.load()?.config.auth;
    let signer = match (&args.private_key, &auth.jwt_secret) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            let name = args.kid.clone();
            Signer::Pem { text, name }
        }
        (None, Some(secret)) => Signer::Secret(secret.expose().to_owned()),
        (None, None) => bail!("with what is it to be signed? Set auth.jwt_secret, or name a --private-key"),
    };
    let (granting, exp) = (&args.granting, seconds_from_now(args.ttl));
    let claims = || -> anyhow::Result<Claims> {
        Ok(Claims {
            sub: Some(granting.sub.clone()),
            exp: Some(exp as f64),
            nbf: None,
            iss: auth.issuer.clone(),
            aud: auth.audience.clone().map(Audience::One),
            jti: Some(granting.id()),
            rooms: granting.rooms(),
            scopes: granting.scopes()?,
        })
    };
    // What a node would not take is not made.
    let grant = claims()?.grant(&Expected::default(), 0);
    grant.map_err(|fault| anyhow!(fault.message))?;
    let claims = claims()?;
    let id = claims.jti.clone();
    let token = signer.sign(&claims).map_err(|error| anyhow!(error))?;
    match granting.json {
        true => out::line(json!({"token": token, "id": id, "subject": granting.sub, "expires": exp}))?,
        false => out::line(token)?,
    }
    Ok(ExitCode::SUCCESS)
}
