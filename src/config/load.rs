//! The layers, from weakest to strongest, put together as TOML tables and read into a [`Config`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::Config;
use super::environment::{self, Meaning};
use super::key::Key;
use super::problem::{Problem, Problems, Source};
use super::relations;
use super::rules::{self, RESERVED, Rule};

/// Where a file is looked for when none is named; the first that exists is read.
const SEARCHED: [&str; 2] = ["./config/greenroom.toml", "/etc/greenroom/greenroom.toml"];

/// What the layers above the defaults are made of.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file that has to be read, if one was named.
    pub file: Option<PathBuf>,
    /// Files of which the first that exists is read when none was named.
    pub search: Vec<PathBuf>,
    /// The environment; an empty value counts as none.
    pub environment: Vec<(String, String)>,
    /// Each `--set`, as `key=value`.
    pub settings: Vec<String>,
    /// Flags of their own, stronger than `--set`.
    pub flags: Vec<Flag>,
}

/// A flag that sets one key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag, such as `--listen`.
    pub name: &'static str,
    /// The key it sets.
    pub key: &'static str,
    /// The value it was given.
    pub value: String,
}

impl Inputs {
    /// The environment of this process and the usual places for a file.
    pub fn from_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        };
        Self {
            search: SEARCHED.map(PathBuf::from).into(),
            environment: std::env::vars_os().map(text).collect(),
            ..Self::default()
        }
    }
}

/// A configuration that was found to be right.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The values in force.
    pub config: Config,
    /// The keys that were given explicitly, in any layer, with the strongest source of each.
    pub given: BTreeMap<String, Source>,
    /// What the operator should know although nothing is wrong; none of them shows a secret.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// Puts the layers together and checks the result; reports everything that is wrong, not only the first.
pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    let mut layers = Layers::over_defaults()?;
    let file = layers.add_file(inputs);
    layers.add_environment(&inputs.environment);
    layers.add_settings(&inputs.settings);
    for flag in &inputs.flags {
        layers.put_text(
            &Key::parse(flag.key),
            &flag.value,
            Source::Flag(flag.name.to_owned()),
        );
    }
    layers.finish(file)
}

/// The layers so far.
struct Layers {
    defaults: toml::Table,
    merged: toml::Table,
    given: BTreeMap<String, Source>,
    warnings: Vec<String>,
    problems: Vec<Problem>,
}

impl Layers {
    fn over_defaults() -> Result<Self, Problem> {
        let defaults =
            toml::Table::try_from(Config::default()).map_err(|e| Problem::Internal(e.to_string()))?;
        let merged = defaults.clone();
        Ok(Self {
            defaults,
            merged,
            given: BTreeMap::new(),
            warnings: Vec::new(),
            problems: Vec::new(),
        })
    }

    fn add_file(&mut self, inputs: &Inputs) -> Option<PathBuf> {
        let found = inputs.search.iter().find(|path| path.exists());
        let path = inputs.file.as_ref().or(found)?;
        match fs::read_to_string(path) {
            Ok(text) => self.add_toml(path, &text),
            Err(error) => {
                self.problems.push(Problem::Unreadable {
                    path: path.clone(),
                    reason: error.to_string(),
                });
            }
        }
        Some(path.clone())
    }

    fn add_toml(&mut self, path: &Path, text: &str) {
        let parsed = DeTable::parse(text).and_then(|spans| Ok((text.parse::<toml::Table>()?, spans)));
        match parsed {
            Ok((table, spans)) => {
                let lines = Lines {
                    path,
                    text,
                    spans: spans.get_ref(),
                };
                self.add_table(&Key::root(), &table, &lines);
            }
            Err(error) => {
                // The error's own text quotes the line, which may hold a secret.
                let (line, column) = position(text, error.span().map_or(0, |span| span.start));
                let reason = error.message().to_owned();
                self.problems.push(Problem::Syntax {
                    path: path.to_owned(),
                    line,
                    column,
                    reason,
                });
            }
        }
    }

    fn add_table(&mut self, path: &Key, table: &toml::Table, lines: &Lines<'_>) {
        for (name, value) in table {
            let key = path.child(name);
            match value {
                toml::Value::Table(inner) if !Rule::keys_under(&key).is_empty() => {
                    // An event that is named without a key of its own is throttled by the defaults of `Kind`.
                    if key.get(&self.merged).is_none() {
                        key.insert(&mut self.merged, toml::Table::new().into());
                    }
                    self.add_table(&key, inner, lines);
                }
                value => self.put(&key, value.clone(), lines.source(&key)),
            }
        }
    }

    /// Well-known names first: our own are stronger, in whatever order they stand.
    fn add_environment(&mut self, environment: &[(String, String)]) {
        let kinds = self.kinds();
        let mut own = Vec::new();
        for (name, value) in environment {
            let source = Source::Variable(name.clone());
            match environment::meaning(name, value, &kinds) {
                Meaning::Unknown(problem) => self.problems.push(problem),
                Meaning::Foreign => {}
                _ if value.is_empty() => {}
                Meaning::WellKnown(key) => self.put_text(&key, value, source),
                Meaning::Own(key) => own.push((key, value, source)),
                Meaning::Obsolete(warning) => self.warnings.push(warning.to_owned()),
            }
        }
        for (key, value, source) in own {
            self.put_text(&key, value, source);
        }
    }

    /// The names of events known so far.
    fn kinds(&self) -> Vec<String> {
        let kinds = Key::parse("throttle.kinds");
        let table = kinds.get(&self.merged).and_then(toml::Value::as_table);
        table.map_or_else(Vec::new, |table| table.keys().cloned().collect())
    }

    fn add_settings(&mut self, settings: &[String]) {
        for setting in settings {
            let Some((key, value)) = setting.split_once('=') else {
                let in_key = |c: &char| c.is_ascii_alphanumeric() || "_.-".contains(*c);
                let start = setting.chars().take_while(in_key).take(40).collect();
                self.problems.push(Problem::Setting { start });
                continue;
            };
            self.put_text(&Key::parse(key.trim()), value, Source::Flag("--set".to_owned()));
        }
    }

    fn put_text(&mut self, key: &Key, text: &str, from: Source) {
        let value = Rule::of(key).map_or_else(|| text.into(), |rule| rule.read(text));
        self.put(key, value, from);
    }

    fn put(&mut self, key: &Key, value: toml::Value, from: Source) {
        match Rule::of(key) {
            // Nothing that looks through the values of tables would find it.
            Some(rule) if value.is_table() => {
                self.problems
                    .push(rule.problem(key, rule.shown(&value), Some(&from)));
            }
            Some(_) => {
                key.insert(&mut self.merged, value);
                self.given.insert(key.to_string(), from);
            }
            None => self.problems.push(not_a_key(key, from)),
        }
    }

    fn finish(mut self, file: Option<PathBuf>) -> Result<Loaded, Problems> {
        let broken = self.restore_broken_values();
        let config = self.read()?;
        self.problems
            .extend(relations::check_whole(&config, &self.given, &broken));
        self.check_exposure(&config, &broken);
        Problems::none_or(self.problems)?;
        self.warnings.extend(unused(&self.given));
        Ok(Loaded {
            config,
            given: self.given,
            warnings: self.warnings,
            file,
        })
    }

    /// Reports each value that its key does not allow, and puts the default in its place, so that the rest
    /// can be looked at as a whole.
    fn restore_broken_values(&mut self) -> BTreeSet<String> {
        let problems = rules::check_values(&self.merged, &self.given);
        let broken: BTreeSet<String> = problems
            .iter()
            .filter_map(Problem::key)
            .map(str::to_owned)
            .collect();
        let keys: Vec<Key> = Key::leaves(&self.merged)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        for key in keys.iter().filter(|key| broken.contains(&key.to_string())) {
            match key.get(&self.defaults) {
                Some(value) => key.insert(&mut self.merged, value.clone()),
                None => key.remove(&mut self.merged),
            }
        }
        self.problems.extend(problems);
        broken
    }

    /// Reads the table, which holds known keys with allowed values only: a failure means that the rules and
    /// the types do not agree. The reader's own words are not repeated, since they quote the value.
    fn read(&self) -> Result<Config, Problem> {
        let reader = toml::Value::Table(self.merged.clone());
        serde_path_to_error::deserialize(reader).map_err(
            |error: serde_path_to_error::Error<toml::de::Error>| {
                let key = error.path().to_string();
                Problem::Internal(match self.given.get(&key) {
                    Some(source) => format!("`{key}` ({source}) is allowed, but does not fit its type"),
                    None => format!("`{key}` is allowed, but does not fit its type"),
                })
            },
        )
    }

    /// Without authentication, other machines are let in only on purpose.
    fn check_exposure(&mut self, config: &Config, broken: &BTreeSet<String>) {
        if !config.is_exposed() || broken.contains("listen") || self.given.contains_key("auth.mode") {
            return;
        }
        let rule = "can be reached from other machines, and nobody has to prove who they are: set `auth.mode` = \"token\" \
                    so that they have to, or \"off\" explicitly if nobody has to";
        self.problems.push(Problem::Relation {
            key: "listen".to_owned(),
            value: format!("\"{}\"", config.listen),
            from: self.given.get("listen").cloned(),
            rule: rule.to_owned(),
        });
    }
}

fn not_a_key(key: &Key, from: Source) -> Problem {
    let keys = Rule::keys_under(key);
    match keys.is_empty() {
        false => Problem::Section {
            key: key.to_string(),
            from,
            keys: keys.join(", "),
        },
        true => Problem::UnknownKey {
            key: key.to_string(),
            from,
            nearest: key.nearest(),
        },
    }
}

/// A warning for each given key that has no effect yet.
fn unused(given: &BTreeMap<String, Source>) -> impl Iterator<Item = String> {
    let reserved = |key: &str| {
        RESERVED
            .iter()
            .any(|section| key.split('.').next() == Some(section))
    };
    given
        .iter()
        .filter(move |(key, _)| reserved(key))
        .map(|(key, source)| format!("`{key}` ({source}) is set, but has no effect in this version"))
}

/// A file as it was parsed, to tell a key's line.
struct Lines<'f> {
    path: &'f Path,
    text: &'f str,
    spans: &'f DeTable<'f>,
}

impl Lines<'_> {
    fn source(&self, key: &Key) -> Source {
        let (line, _) = position(self.text, self.start(key).unwrap_or(0));
        Source::File {
            path: self.path.to_owned(),
            line,
        }
    }

    /// Where the last segment of a key stands, in bytes.
    fn start(&self, key: &Key) -> Option<usize> {
        let (last, sections) = key.segments().split_last()?;
        let section =
            sections
                .iter()
                .try_fold(self.spans, |table, name| match entry(table, name)?.1.get_ref() {
                    DeValue::Table(inner) => Some(inner),
                    _ => None,
                })?;
        Some(entry(section, last)?.0.span().start)
    }
}

type Entry<'t, 'f> = (&'t Spanned<DeString<'f>>, &'t Spanned<DeValue<'f>>);

fn entry<'t, 'f>(table: &'t DeTable<'f>, name: &str) -> Option<Entry<'t, 'f>> {
    table.iter().find(|(key, _)| key.get_ref() == name)
}

/// Line and column of a byte, from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
