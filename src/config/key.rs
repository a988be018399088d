//! Paths of keys: how they are written, how a table is read and changed by them, and which known one is
//! nearest.

use std::fmt;

use super::rules::{KIND_PATTERN, RULES};

/// The section whose keys are events' names, which may hold anything, dots too.
const KINDS: &str = "throttle.kinds.";

/// The path of a key, such as `rooms.history_events`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<String>);

impl Key {
    /// The whole configuration: the path of no key.
    pub(super) fn root() -> Self {
        Self(Vec::new())
    }

    /// Reads `rooms.history_events`; in `throttle.kinds.NAME.field` the name keeps its dots.
    pub(super) fn parse(text: &str) -> Self {
        let middle = text.strip_prefix(KINDS).and_then(|rest| rest.rsplit_once('.'));
        let parts = match middle {
            Some((name, field)) => vec!["throttle", "kinds", name, field],
            None => text.split('.').collect(),
        };
        Self(parts.into_iter().map(str::to_owned).collect())
    }

    pub(super) fn child(&self, segment: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.to_owned());
        Self(segments)
    }

    pub(super) fn segments(&self) -> &[String] {
        &self.0
    }

    /// The value at this path.
    pub(super) fn get<'t>(&self, table: &'t toml::Table) -> Option<&'t toml::Value> {
        let (last, sections) = self.0.split_last()?;
        let section = sections
            .iter()
            .try_fold(table, |table, name| table.get(name)?.as_table())?;
        section.get(last)
    }

    /// Puts a value at this path, making the sections on the way.
    pub(super) fn insert(&self, table: &mut toml::Table, value: toml::Value) {
        let Some((last, sections)) = self.0.split_last() else {
            return;
        };
        let mut section = table;
        for name in sections {
            let entry = section
                .entry(name.as_str())
                .or_insert_with(|| toml::Table::new().into());
            let toml::Value::Table(inner) = entry else { return };
            section = inner;
        }
        section.insert(last.clone(), value);
    }

    /// Takes the value at this path away.
    pub(super) fn remove(&self, table: &mut toml::Table) {
        let Some((last, sections)) = self.0.split_last() else {
            return;
        };
        let mut section = table;
        for name in sections {
            let Some(toml::Value::Table(inner)) = section.get_mut(name.as_str()) else {
                return;
            };
            section = inner;
        }
        section.remove(last.as_str());
    }

    /// Every value of a table that is not itself a table, with its path.
    pub(super) fn leaves(table: &toml::Table) -> Vec<(Self, &toml::Value)> {
        fn walk<'t>(path: &Key, table: &'t toml::Table, found: &mut Vec<(Key, &'t toml::Value)>) {
            for (name, value) in table {
                match value {
                    toml::Value::Table(inner) => walk(&path.child(name), inner, found),
                    value => found.push((path.child(name), value)),
                }
            }
        }
        let mut found = Vec::new();
        walk(&Self::root(), table, &mut found);
        found
    }

    /// The known key most like this one: the same up to a few letters, the same name in another section, or else the
    /// one of its section that begins most like it.
    pub(super) fn nearest(&self) -> String {
        let wanted = flat(&self.to_string());
        let last = flat(self.0.last().map_or("", String::as_str));
        let distance = |key: &String| {
            let name = key.rsplit('.').next().unwrap_or_default();
            let whole = strsim::damerau_levenshtein(&wanted, &flat(key));
            let nearest = whole.min(strsim::damerau_levenshtein(&last, &flat(name)) + 1);
            // Of two that are as near, the one of which the beginning was written.
            (nearest, !flat(name).starts_with(&last))
        };
        let known: Vec<String> = RULES.iter().map(|rule| self.concrete(rule.pattern)).collect();
        let nearest = known.iter().min_by_key(|key| distance(key)).cloned();
        let is_typo = |key: &String| distance(key).0 <= 1 + last.len() / 4;
        nearest
            .clone()
            .filter(is_typo)
            .or_else(|| self.nearest_sibling(&known))
            .or(nearest)
            .unwrap_or_default()
    }

    /// The known key of the same section that is most like this one.
    fn nearest_sibling(&self, known: &[String]) -> Option<String> {
        let (last, section) = self.0.split_last()?;
        let section = format!("{}.", section.join("."));
        let siblings = known
            .iter()
            .filter_map(|key| Some((key, key.strip_prefix(&section)?)));
        let alike = |name: &str| strsim::jaro_winkler(&flat(last), &flat(name));
        let nearest = siblings.max_by(|(_, one), (_, other)| alike(one).total_cmp(&alike(other)));
        nearest.map(|(key, _)| key.clone())
    }

    /// A pattern with the event's name filled in: this key's own, if it has one.
    fn concrete(&self, pattern: &str) -> String {
        if !pattern.starts_with(KIND_PATTERN) {
            return pattern.to_owned();
        }
        let own = self
            .0
            .get(2)
            .filter(|_| self.0.len() == 4)
            .map_or("agent-thought", String::as_str);
        pattern.replace('*', own)
    }
}

/// Dashes, dots and underscores alike: what people mix up is not what tells keys apart.
fn flat(text: &str) -> String {
    text.to_lowercase()
        .replace(['.', '-', ' '], "_")
        .replace("__", "_")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        for (place, segment) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            match !segment.is_empty() && segment.chars().all(plain) {
                true => f.write_str(segment)?,
                false => write!(f, "{segment:?}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_name_keeps_its_dots() {
        let key = Key::parse("throttle.kinds.task.update.priority");
        assert_eq!(key.segments(), ["throttle", "kinds", "task.update", "priority"]);
        assert_eq!(key.to_string(), "throttle.kinds.\"task.update\".priority");
    }

    #[test]
    fn what_is_inserted_is_found_and_can_be_removed() {
        let mut table = toml::Table::new();
        let key = Key::parse("rooms.history_events");
        key.insert(&mut table, 7.into());
        assert_eq!(key.get(&table), Some(&7.into()));
        assert_eq!(Key::leaves(&table), [(key.clone(), &7.into())]);
        key.remove(&mut table);
        assert_eq!(key.get(&table), None);
    }

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        let cases = [
            ("rooms.history_evnts", "rooms.history_events"),
            ("history_events", "rooms.history_events"),
            ("redis_url", "redis.url"),
            ("websocket.ping_interval", "websocket.ping_interval_ms"),
            ("limits.outbox_bytes", "rooms.outbox_bytes"),
            ("throttle.kinds.chat.prio", "throttle.kinds.chat.priority"),
            ("auth.mod", "auth.mode"),
            ("rooms.histry", "rooms.history_bytes"),
            ("http.body", "http.body_timeout_ms"),
            ("listne", "listen"),
        ];
        for (wrong, meant) in cases {
            assert_eq!(Key::parse(wrong).nearest(), meant, "for {wrong}");
        }
    }
}
