//! Reads one behaviour: its name and its parameters.

use std::time::Duration;

use super::gap::Gap;
use super::parse::{KINDS, LATER, SpecError, WHENS, chance, digits, duration, refuse};
use super::promise::Promise;
use super::restart::Restart;
use super::spec::{Author, Chance, Kind, Tale, What};
use super::suggest::nearest;
use crate::crypto::PublicKey;
use crate::wire::limits::MAX_PAYLOAD;

/// Longest delay of a frame.
const MAX_DELAY: Duration = Duration::from_secs(60);
const DEFAULT_DELAY: Duration = Duration::from_millis(500);
const MAX_RATE: u32 = 1_000_000;
/// At the least one slot in so many is left out by `gap`.
const MAX_EVERY: u32 = 1000;
/// Most authors that one `censor` may name.
const MAX_CENSORED: usize = 64;

/// Reads a behaviour's name and parameters.
pub(super) fn kind(name: &str, params: &[(&str, &str)]) -> Result<Kind, SpecError> {
    match name {
        "forge" => none(name, params, Kind::Forge),
        "tamper" => none(name, params, Kind::Tamper),
        "replay" => none(name, params, Kind::Replay),
        "malformed" => none(name, params, Kind::Malformed),
        "stall" => none(name, params, Kind::Stall),
        "false-floor" => none(name, params, Kind::FalseFloor),
        "false-differ" => none(name, params, Kind::FalseDiffer),
        "drop" => {
            known(name, params, &["p"])?;
            Ok(Kind::Drop { p: one(params, "p")?.map_or(Ok(Chance::ALWAYS), chance)? })
        }
        "censor" => censor(name, params),
        "delay" => {
            known(name, params, &["by"])?;
            let by = match one(params, "by")? {
                None => DEFAULT_DELAY,
                Some(text) => duration(text, MAX_DELAY)?,
            };
            if by.is_zero() {
                return refuse("by=0s", "is no delay; it is above 0 and at most 60s");
            }
            Ok(Kind::Delay { by })
        }
        "flood" => {
            known(name, params, &["rate", "what"])?;
            let rate = one(params, "rate")?.map(rate).transpose()?;
            let what = one(params, "what")?.map_or(Ok(What::Garbage), what)?;
            Ok(Kind::Flood { rate, what })
        }
        "promise" => {
            known(name, params, &["rate"])?;
            Ok(Kind::Promise { rate: one(params, "rate")?.map_or(Ok(Promise::RATE), rate)? })
        }
        "restart" => {
            known(name, params, &["rate"])?;
            Ok(Kind::Restart { rate: one(params, "rate")?.map_or(Ok(Restart::RATE), rate)? })
        }
        "gap" => gap(name, params),
        "false-credit" => {
            known(name, params, &["what"])?;
            Ok(Kind::FalseCredit { what: one(params, "what")?.map(tale).transpose()? })
        }
        "" => refuse(name, format!("names no behaviour; there are {}", KINDS.join(", "))),
        _ if LATER.contains(&name) => {
            refuse(name, format!("is not built yet; there are {}", KINDS.join(", ")))
        }
        _ => {
            let suggestion = nearest(name, KINDS.into_iter().chain(LATER)).map(str::to_owned);
            let why = format!("is no behaviour; there are {}", KINDS.join(", "));
            Err(SpecError::new(name, why, suggestion))
        }
    }
}

fn none(name: &str, params: &[(&str, &str)], kind: Kind) -> Result<Kind, SpecError> {
    known(name, params, &[])?;
    Ok(kind)
}

fn known(name: &str, params: &[(&str, &str)], keys: &[&'static str]) -> Result<(), SpecError> {
    let Some((key, _)) = params.iter().find(|(key, _)| !keys.contains(key)) else { return Ok(()) };
    if keys.is_empty() {
        return Err(SpecError::new(
            key,
            format!("is no parameter of {name}, which takes none; times come after `@`"),
            WHENS.contains(key).then(|| format!("{name}@{key}=…")),
        ));
    }
    let why = format!("is no parameter of {name}, which takes {}", keys.join(", "));
    Err(SpecError::new(key, why, nearest(key, keys.iter().copied()).map(str::to_owned)))
}

fn one<'a>(params: &[(&str, &'a str)], key: &str) -> Result<Option<&'a str>, SpecError> {
    let mut values = params.iter().filter(|(name, _)| *name == key).map(|(_, value)| *value);
    let first = values.next();
    if values.next().is_some() { refuse(key, "is given twice; give it once") } else { Ok(first) }
}

fn censor(name: &str, params: &[(&str, &str)]) -> Result<Kind, SpecError> {
    known(name, params, &["author"])?;
    let mut authors: Vec<Author> = Vec::new();
    for (_, text) in params {
        let printable = text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic());
        if !printable {
            return refuse(text, "is neither a key (64 hex digits) nor a name in a network file");
        }
        let author =
            PublicKey::from_hex(text).map_or_else(|| Author::Name((*text).to_owned()), Author::Key);
        if authors.contains(&author) {
            return refuse(text, "is censored twice; name each author once");
        }
        authors.push(author);
    }
    match authors.len() {
        0 => Err(SpecError::new(
            name,
            "needs an author: a key, or a name in the network file",
            Some("censor:author=n0".to_owned()),
        )),
        1..=MAX_CENSORED => Ok(Kind::Censor { authors }),
        _ => refuse(name, format!("names more than {MAX_CENSORED} authors")),
    }
}

fn gap(name: &str, params: &[(&str, &str)]) -> Result<Kind, SpecError> {
    known(name, params, &["every", "rate", "size"])?;
    let every = match one(params, "every")? {
        None => Gap::EVERY,
        Some(text) => match digits(text).and_then(|every| u32::try_from(every).ok()) {
            Some(every @ 2..=MAX_EVERY) => every,
            _ => return refuse(text, format!("is no such number; it is 2 to {MAX_EVERY}")),
        },
    };
    let size = match one(params, "size")? {
        None => Gap::SIZE,
        Some(text) => match digits(text).and_then(|size| usize::try_from(size).ok()) {
            Some(size @ 0..=MAX_PAYLOAD) => size,
            _ => return refuse(text, format!("is no size; it is 0 to {MAX_PAYLOAD} bytes")),
        },
    };
    let rate = one(params, "rate")?.map_or(Ok(Gap::RATE), rate)?;
    Ok(Kind::Gap { every, rate, size })
}

fn tale(text: &str) -> Result<Tale, SpecError> {
    Tale::ALL.into_iter().find(|tale| tale.name() == text).ok_or_else(|| {
        let names = Tale::ALL.map(Tale::name);
        let why = format!("is no lie about credit; there are {}", names.join(", "));
        SpecError::new(text, why, nearest(text, names).map(str::to_owned))
    })
}

fn what(text: &str) -> Result<What, SpecError> {
    What::ALL.into_iter().find(|what| what.name() == text).ok_or_else(|| {
        let names = What::ALL.map(What::name);
        let why = format!("is nothing to flood with; there are {}", names.join(", "));
        SpecError::new(text, why, nearest(text, names).map(str::to_owned))
    })
}

fn rate(text: &str) -> Result<u32, SpecError> {
    let rate = digits(text).and_then(|rate| u32::try_from(rate).ok());
    match rate {
        Some(rate @ 1..=MAX_RATE) => Ok(rate),
        _ => refuse(text, format!("is no rate; it is so many a second, 1 to {MAX_RATE}")),
    }
}
