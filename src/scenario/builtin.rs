//! The built-in scenarios.

/// A built-in scenario's name and its file.
macro_rules! library {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("builtin/", $name, ".toml")))),*]
    };
}

/// Every one, in the order in which one would read them.
const LIBRARY: &[(&str, &str)] = library!["three-liars"];

/// Every built-in scenario: its name and its file.
pub fn builtins() -> &'static [(&'static str, &'static str)] {
    LIBRARY
}

/// The file of a built-in scenario.
pub fn builtin(name: &str) -> Option<&'static str> {
    LIBRARY.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
