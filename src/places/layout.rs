//! The layout of a process: this program's own image, and libraries.

use std::sync::Arc;

use super::files::{self, CodeFile};
use crate::sys::image;
use crate::sys::mappings::Mapping;

/// The code mappings of a process of this program.
#[derive(Debug)]
pub(crate) struct Layout<'m> {
    /// The address that offsets in this program's image are relative to.
    base: Option<u64>,
    /// Code from files, in the order of its addresses.
    code: Vec<Mapping<'m>>,
}

/// Code at an address.
#[derive(Debug)]
pub(super) struct Located<'l> {
    /// Its address in its file.
    pub(super) address: u64,
    pub(super) file: Option<Arc<CodeFile>>,
    /// The path of the file, if it is not this program's own.
    pub(super) library: Option<&'l [u8]>,
}

impl<'m> Layout<'m> {
    /// Returns the layout of a process with these mappings.
    #[cfg(any(test, crossmist_learn))]
    pub(crate) fn of_process(maps: &'m [u8]) -> Self {
        let code = code(maps);
        let base = base(&code);
        Self { base, code }
    }

    /// Returns the layout of a process in which this program's image is at an address, if that is the process with
    /// these mappings or a copy of it. Nothing is known of the libraries of another one.
    pub(crate) fn with_base(address: u64, maps: &'m [u8]) -> Self {
        let mut code = code(maps);
        if base(&code) != Some(address) {
            code.clear();
        }
        Self {
            base: Some(address),
            code,
        }
    }

    /// Returns the address that offsets in this program's image are relative to, if that is known.
    pub(crate) fn base(&self) -> Option<u64> {
        self.base
    }

    /// Returns the offset in this program's image of an address in its process.
    fn offset_of(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.base?)
    }

    /// Returns the code of an instruction. `None` if there is none that is known.
    pub(super) fn locate(&self, instruction: u64) -> Option<Located<'m>> {
        let own = self.offset_of(instruction).filter(|offset| {
            let after = offset.checked_add(1);
            let image = image::image();
            after.is_some_and(|after| image.is_some_and(|image| image.return_at(after).is_some()))
        });
        if let Some(address) = own {
            return Some(Located {
                address,
                file: files::own().map(|(_, file)| Arc::clone(file)),
                library: None,
            });
        }
        let at = self
            .code
            .partition_point(|mapping| mapping.range.end <= instruction);
        let mapping = self.code.get(at)?;
        let within = instruction.checked_sub(mapping.range.start)?;
        let file = files::of(mapping);
        let offset = within.checked_add(mapping.offset)?;
        let address = file
            .as_ref()
            .and_then(|file| file.tables.address_of(offset));
        Some(Located {
            // Without an address, there is nothing that it could be looked up in.
            address: address.unwrap_or(0),
            file: file.filter(|_| address.is_some()),
            library: Some(mapping.path),
        })
    }
}

fn code(maps: &[u8]) -> Vec<Mapping<'_>> {
    let code = Mapping::all(maps).filter(Mapping::is_code_of_file);
    let mut code: Vec<_> = code.collect();
    code.sort_by_key(|code| code.range.start);
    code
}

/// Returns where this program's image is, among the code of a process.
fn base(code: &[Mapping<'_>]) -> Option<u64> {
    let (id, own) = files::own()?;
    let mut own_code = code.iter().filter(|mapping| mapping.file == *id);
    own_code.find_map(|mapping| own.tables.base(mapping))
}
