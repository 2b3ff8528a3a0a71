//! Parses one behaviour: its name, its parameters, and their numbers, durations and chances.

use std::time::Duration;

use super::spec::{
    Author, BehaviourKind, Chance, GAP_EVERY, GAP_RATE, GAP_SIZE, PROMISE_RATE, RESTART_RATE,
    SpecError, Tale, What, refuse,
};
use super::suggest::nearest;
use crate::crypto::PublicKey;
use crate::wire::limits::MAX_PAYLOAD;

/// The names of all behaviours.
pub const KINDS: [&str; 15] = [
    "forge",
    "tamper",
    "drop",
    "censor",
    "delay",
    "replay",
    "flood",
    "malformed",
    "stall",
    "promise",
    "gap",
    "false-floor",
    "false-differ",
    "false-credit",
    "restart",
];
/// Names reserved for behaviours that are not implemented yet.
const LATER: [&str; 6] =
    ["equivocate", "withhold", "double-echo", "false-proof", "twin", "eclipse"];
/// The keywords allowed after `@`.
pub(super) const WHENS: [&str; 4] = ["always", "after", "between", "p"];
/// Longest delay of a frame.
const MAX_DELAY: Duration = Duration::from_secs(60);
const DEFAULT_DELAY: Duration = Duration::from_millis(500);
const MAX_RATE: u32 = 1_000_000;
/// Largest `every` of `gap`: it leaves out at least one slot in this many.
const MAX_EVERY: u32 = 1000;
/// Most authors that one `censor` may name.
const MAX_CENSORED: usize = 64;

/// Reads a behaviour's name and parameters.
pub(super) fn kind(name: &str, params: &[(&str, &str)]) -> Result<BehaviourKind, SpecError> {
    match name {
        "forge" => none(name, params, BehaviourKind::Forge),
        "tamper" => none(name, params, BehaviourKind::Tamper),
        "replay" => none(name, params, BehaviourKind::Replay),
        "malformed" => none(name, params, BehaviourKind::Malformed),
        "stall" => none(name, params, BehaviourKind::Stall),
        "false-floor" => none(name, params, BehaviourKind::FalseFloor),
        "false-differ" => none(name, params, BehaviourKind::FalseDiffer),
        "drop" => {
            known(name, params, &["p"])?;
            Ok(BehaviourKind::Drop { p: one(params, "p")?.map_or(Ok(Chance::ALWAYS), chance)? })
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
            Ok(BehaviourKind::Delay { by })
        }
        "flood" => {
            known(name, params, &["rate", "what"])?;
            let rate = one(params, "rate")?.map(rate).transpose()?;
            let what = one(params, "what")?.map_or(Ok(What::Garbage), what)?;
            Ok(BehaviourKind::Flood { rate, what })
        }
        "promise" => {
            known(name, params, &["rate"])?;
            Ok(BehaviourKind::Promise {
                rate: one(params, "rate")?.map_or(Ok(PROMISE_RATE), rate)?,
            })
        }
        "restart" => {
            known(name, params, &["rate"])?;
            Ok(BehaviourKind::Restart {
                rate: one(params, "rate")?.map_or(Ok(RESTART_RATE), rate)?,
            })
        }
        "gap" => gap(name, params),
        "false-credit" => {
            known(name, params, &["what"])?;
            Ok(BehaviourKind::FalseCredit { what: one(params, "what")?.map(tale).transpose()? })
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

fn none(
    name: &str,
    params: &[(&str, &str)],
    kind: BehaviourKind,
) -> Result<BehaviourKind, SpecError> {
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

fn censor(name: &str, params: &[(&str, &str)]) -> Result<BehaviourKind, SpecError> {
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
        1..=MAX_CENSORED => Ok(BehaviourKind::Censor { authors }),
        _ => refuse(name, format!("names more than {MAX_CENSORED} authors")),
    }
}

fn gap(name: &str, params: &[(&str, &str)]) -> Result<BehaviourKind, SpecError> {
    known(name, params, &["every", "rate", "size"])?;
    let every = match one(params, "every")? {
        None => GAP_EVERY,
        Some(text) => match digits(text).and_then(|every| u32::try_from(every).ok()) {
            Some(every @ 2..=MAX_EVERY) => every,
            _ => return refuse(text, format!("is no such number; it is 2 to {MAX_EVERY}")),
        },
    };
    let size = match one(params, "size")? {
        None => GAP_SIZE,
        Some(text) => match digits(text).and_then(|size| usize::try_from(size).ok()) {
            Some(size @ 0..=MAX_PAYLOAD) => size,
            _ => return refuse(text, format!("is no size; it is 0 to {MAX_PAYLOAD} bytes")),
        },
    };
    let rate = one(params, "rate")?.map_or(Ok(GAP_RATE), rate)?;
    Ok(BehaviourKind::Gap { every, rate, size })
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

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

pub(super) fn duration(text: &str, most: Duration) -> Result<Duration, SpecError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let (Some(number), Some(scale)) = (digits(number), scale) else {
        if let Some(number) = digits(text) {
            let why = format!("has no unit; write {number}ms, {number}s or {number}m");
            return refuse(text, why);
        }
        let why = match text.starts_with('-') {
            true => "is negative, and no duration is; write it like 250ms, 5s or 10m",
            false => "is no duration; write it like 250ms, 5s or 10m",
        };
        return refuse(text, why);
    };
    let span = Duration::from_millis(number.saturating_mul(scale));
    if span > most {
        return refuse(text, format!("is too long; at most {}s", most.as_secs()));
    }
    Ok(span)
}

/// A decimal above 0 and at most 1, with at most six decimal places.
pub(super) fn chance(text: &str) -> Result<Chance, SpecError> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let millionths = match (digits(whole), digits(places)) {
        (Some(whole @ 0..=1), Some(number)) if places.len() <= 6 => {
            let scale = 10_u64.pow(u32::try_from(6 - places.len()).unwrap_or(0));
            u32::try_from(whole * 1_000_000 + number * scale).ok()
        }
        _ => None,
    };
    match millionths {
        Some(p @ 1..=1_000_000) => Ok(Chance(p)),
        _ => refuse(text, "is no chance; it is above 0 and at most 1, like 0.2"),
    }
}
