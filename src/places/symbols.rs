//! The names of a library's functions.

use object::LittleEndian as Little;
use object::elf::{self, Sym64};
use object::pod;

use super::elf::{Elf, Section};

/// How long a name is at most that anybody is shown.
const MOST_CHARS: usize = 200;

/// The functions of a file.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    functions: Vec<Function>,
    /// What they were read from, which is about as long as the list of them.
    _table: Section,
    names: Section,
}

#[derive(Debug)]
struct Function {
    start: u64,
    bytes: u64,
    /// The offset at which the name begins.
    name: u32,
}

impl Symbols {
    /// Reads those that debuggers are told, or else those that other files can use.
    pub(super) fn read(file: &Elf) -> Self {
        let table = [elf::SHT_SYMTAB, elf::SHT_DYNSYM]
            .into_iter()
            .find_map(|kind| file.section_with_names(kind));
        let Some((table, names)) = table else {
            return Self::default();
        };
        let count = table.bytes.len() / size_of::<Sym64<Little>>();
        let symbols = pod::slice_from_bytes::<Sym64<Little>>(&table.bytes, count);
        let (symbols, _) = symbols.unwrap_or_default();
        let functions = symbols.iter().filter(|symbol| {
            let kind = symbol.st_type();
            (kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC) && symbol.st_size.get(Little) > 0
        });
        let functions = functions.map(|symbol| Function {
            start: symbol.st_value.get(Little),
            bytes: symbol.st_size.get(Little),
            name: symbol.st_name.get(Little),
        });
        let functions = functions.collect();
        let _table = Section::without_bytes(table);
        Self {
            functions,
            _table,
            names,
        }
    }

    /// Returns the name of the function that an address lies in.
    pub(super) fn name_of(&self, address: u64) -> Option<String> {
        let is_within = |function: &&Function| {
            let within = address.checked_sub(function.start);
            within.is_some_and(|within| within < function.bytes)
        };
        let function = self.functions.iter().find(is_within)?;
        let name = self
            .names
            .bytes
            .get(usize::try_from(function.name).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        let name = String::from_utf8_lossy(name);
        // Its version may follow.
        let name = name.split('@').next().filter(|name| !name.is_empty())?;
        Some(shown(&format!("{:#}", rustc_demangle::demangle(name))))
    }
}

/// Returns a name as anybody may be shown it.
pub(super) fn shown(name: &str) -> String {
    let is_shown = |c: &char| !c.is_control();
    name.chars().filter(is_shown).take(MOST_CHARS).collect()
}
