//! Reads TOML tables key by key. A key that was never asked for is unknown.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Code, nearest};
use crate::source::{At, Place, Problem};

/// Collects problems while a file is read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) file: u16,
    pub(crate) problems: Vec<Problem>,
}

/// One table of a file.
pub(crate) struct Section<'t, 'i> {
    name: &'t str,
    table: &'t DeTable<'i>,
    pub(crate) place: Place,
    asked: RefCell<Vec<&'static str>>,
}

/// A value and its place.
pub(crate) type Node<'t, 'i> = &'t Spanned<DeValue<'i>>;

impl Reader {
    pub(crate) fn place(&self, node: Node<'_, '_>) -> Place {
        Place::new(self.file, node.span())
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports that a value is not what it should be.
    pub(crate) fn expected(&mut self, what: &str, node: Node<'_, '_>) {
        let found = kind(node.get_ref());
        let message = format!("expected {what}, found {found}");
        self.problem(Problem::new(Code::BadValue, self.place(node), message));
    }

    pub(crate) fn string(&mut self, node: Node<'_, '_>) -> Option<At<String>> {
        match node.get_ref() {
            DeValue::String(text) => Some(At {
                value: text.clone().into_owned(),
                place: self.place(node),
            }),
            _ => {
                self.expected("a string", node);
                None
            }
        }
    }

    pub(crate) fn integer(&mut self, node: Node<'_, '_>) -> Option<At<i64>> {
        let value = match node.get_ref() {
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok(),
            _ => None,
        };
        if value.is_none() {
            self.expected("a whole number", node);
        }
        value.map(|value| At {
            value,
            place: self.place(node),
        })
    }

    pub(crate) fn boolean(&mut self, node: Node<'_, '_>) -> Option<At<bool>> {
        match node.get_ref() {
            DeValue::Boolean(value) => Some(At {
                value: *value,
                place: self.place(node),
            }),
            _ => {
                self.expected("true or false", node);
                None
            }
        }
    }

    pub(crate) fn array<'t, 'i>(&mut self, node: Node<'t, 'i>) -> Vec<Node<'t, 'i>> {
        match node.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => {
                self.expected("a list", node);
                Vec::new()
            }
        }
    }

    pub(crate) fn strings(&mut self, node: Node<'_, '_>) -> Vec<At<String>> {
        let items = self.array(node);
        items
            .into_iter()
            .filter_map(|item| self.string(item))
            .collect()
    }

    pub(crate) fn table<'t, 'i>(
        &mut self,
        name: &'t str,
        node: Node<'t, 'i>,
    ) -> Option<Section<'t, 'i>> {
        match node.get_ref() {
            DeValue::Table(table) => Some(Section::new(name, table, self.place(node))),
            _ => {
                self.expected("a table", node);
                None
            }
        }
    }
}

impl<'t, 'i> Section<'t, 'i> {
    pub(crate) fn new(name: &'t str, table: &'t DeTable<'i>, place: Place) -> Self {
        Self {
            name,
            table,
            place,
            asked: RefCell::default(),
        }
    }

    /// Returns the value of a key, if there is one. From then on the key counts as known.
    pub(crate) fn key(&self, key: &'static str) -> Option<Node<'t, 'i>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// A sub-table.
    pub(crate) fn section(&self, reader: &mut Reader, key: &'static str) -> Option<Self> {
        reader.table(key, self.key(key)?)
    }

    /// Returns a list of strings, which is empty if the key is absent.
    pub(crate) fn strings(&self, reader: &mut Reader, key: &'static str) -> Vec<At<String>> {
        self.key(key)
            .map(|node| reader.strings(node))
            .unwrap_or_default()
    }

    /// Returns a string, if the key is present.
    pub(crate) fn string(&self, reader: &mut Reader, key: &'static str) -> Option<At<String>> {
        reader.string(self.key(key)?)
    }

    /// Returns every key with its value, for tables whose keys are names.
    pub(crate) fn entries(
        &self,
        file: u16,
    ) -> impl Iterator<Item = (At<String>, Node<'t, 'i>)> + use<'t, 'i> {
        self.table.iter().map(move |(key, node)| {
            let place = Place::new(file, key.span());
            (
                At {
                    value: key.get_ref().clone().into_owned(),
                    place,
                },
                node,
            )
        })
    }

    /// Reports every key that was never asked for.
    pub(crate) fn finish(self, reader: &mut Reader) {
        let asked = self.asked.into_inner();
        for (key, _) in self.table {
            let written = key.get_ref().as_ref();
            if !asked.contains(&written) {
                let place = Place::new(reader.file, key.span());
                let place_name = if self.name.is_empty() {
                    String::from("a policy")
                } else {
                    format!("`[{}]`", self.name)
                };
                let message = format!("{place_name} has no key `{written}`");
                let problem = Problem::new(Code::UnknownKey, place, message);
                let problem = match nearest(written, asked.iter().copied()) {
                    Some(name) => problem.did_you_mean(Some(name)),
                    None => problem.help(format!("its keys are {}", asked.join(", "))),
                };
                reader.problem(problem);
            }
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
