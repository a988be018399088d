//! The keys by which tokens are verified. What algorithm a key is for is settled here, and never by a token.

use greenroom_actors::logic::access::{Claims, unauthenticated};
use greenroom_actors::logic::fault::Fault;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

/// Bytes of a token, at most: more does not fit the head of a request either.
const TOKEN_BYTES_MAX: usize = 8_192;
/// The smallest modulus of an RSA key, bytes: 2,048 bits, as RFC 7518 section 3.3 asks.
const RSA_BYTES_MIN: usize = 256;

/// See the module's description.
#[derive(Default)]
pub struct Verifiers {
    all: Vec<Verifier>,
    /// Whether tokens name their key. Where there is no set of keys, the name means nothing, and is not looked at.
    named: bool,
}

struct Verifier {
    name: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifiers {
    /// A secret that the issuer has too: HS256.
    pub fn add_secret(&mut self, secret: &str) {
        self.all.push(Verifier {
            name: None,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret.as_bytes()),
        });
    }

    /// A public key in PEM: RS256, ES256, ES384 or EdDSA, by what it is.
    pub fn add_pem(&mut self, pem: &str) -> Result<(), String> {
        if pem.contains("PRIVATE KEY") {
            return Err("holds a private key: the node needs the public one only".into());
        }
        let pem = pem.as_bytes();
        let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
        let any = rsa
            .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256)))
            .or_else(|_| DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA)));
        let (key, _) = any.map_err(|_| "holds no public key in PEM (RSA, P-256, P-384 or Ed25519)")?;
        // As a JWK it says what curve it is on, and how long it is.
        let jwk =
            Jwk::from_decoding_key(&key, None).map_err(|error| format!("holds no good key: {error}"))?;
        let verifier = verifier(&jwk)?.ok_or("holds a key of a kind that is not supported")?;
        self.all.push(Verifier { key, ..verifier });
        Ok(())
    }

    /// A set of public keys (RFC 7517). Keys for other purposes, and of kinds that are not known, are passed over.
    pub fn add_set(&mut self, json: &str) -> Result<(), String> {
        let set: JwkSet = serde_json::from_str(json).map_err(|error| format!("is no JWK set: {error}"))?;
        let before = self.all.len();
        for jwk in &set.keys {
            let name = jwk.common.key_id.as_deref().unwrap_or("without kid");
            let found = verifier(jwk).map_err(|error| format!("key {name}: {error}"))?;
            let is_there = |known: &Verifier| known.name.is_some() && known.name == jwk.common.key_id;
            if self.all.iter().any(is_there) {
                return Err(format!("key {name} is there twice"));
            }
            self.all.extend(found);
        }
        if self.all.len() == before {
            return Err("has no key by which a token could be verified".into());
        }
        self.named = true;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// What a token says, if it was signed by one of these keys. When it holds is not looked at. Errors:
    /// `unauthenticated`.
    pub fn verify(&self, token: &str) -> Result<Claims, Fault> {
        let malformed = || unauthenticated("malformed", "this is no token");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed());
        }
        let header = decode_header(token).map_err(|error| match error.kind() {
            // Among them `none`: there is no such algorithm.
            ErrorKind::Json(_) => unauthenticated("malformed", "the head of this token cannot be read"),
            _ => malformed(),
        })?;
        if header.crit.is_some() {
            return Err(unauthenticated(
                "malformed",
                "this token asks for extensions (crit)",
            ));
        }
        let name = header.kid.as_ref().filter(|_| self.named);
        let mut candidates = self.all.iter().filter(|key| key.name.as_ref() == name).peekable();
        if candidates.peek().is_none() {
            return Err(unauthenticated(
                "unknown_key",
                "this token names no key of this node (kid)",
            ));
        }
        let mut fault = unauthenticated("algorithm", "this token's key is not for its algorithm (alg)");
        for key in candidates.filter(|key| key.algorithm == header.alg) {
            match key.verify(token) {
                Ok(claims) => return Ok(claims),
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }
}

impl Verifier {
    fn verify(&self, token: &str) -> Result<Claims, Fault> {
        let mut signature_only = Validation::new(self.algorithm);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        match decode::<Claims>(token, &self.key, &signature_only) {
            Ok(token) => Ok(token.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::Json(why) => unauthenticated(
                    "malformed",
                    format!("the claims of this token cannot be read: {why}"),
                ),
                _ => unauthenticated("signature", "the signature of this token does not hold"),
            }),
        }
    }
}

/// The verifier that a key of a set makes; `None` where it is for something else.
fn verifier(jwk: &Jwk) -> Result<Option<Verifier>, String> {
    let common = &jwk.common;
    let is_to_verify = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
    if matches!(&common.public_key_use, Some(used) if *used != PublicKeyUse::Signature)
        || !common.key_operations.as_ref().is_none_or(is_to_verify)
    {
        return Ok(None);
    }
    let customary = match &jwk.algorithm {
        AlgorithmParameters::RSA(key) if key.n.len() * 3 / 4 < RSA_BYTES_MIN => {
            return Err("an RSA key has at least 2,048 bits".into());
        }
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return Ok(None),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => {
            return Err("a secret does not belong into a file of public keys: see auth.jwt_secret".into());
        }
        _ => return Ok(None),
    };
    let algorithm = match common.key_algorithm.map(Algorithm::try_from) {
        None => customary,
        Some(Ok(named)) if named == customary || is_rsa(named) && is_rsa(customary) => named,
        Some(Ok(_)) => return Err("its algorithm (alg) is not one of its kind (kty, crv)".into()),
        Some(Err(_)) => return Ok(None),
    };
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    Ok(Some(Verifier {
        name: common.key_id.clone(),
        algorithm,
        key,
    }))
}

fn is_rsa(algorithm: Algorithm) -> bool {
    algorithm.family() == jsonwebtoken::AlgorithmFamily::Rsa
}
