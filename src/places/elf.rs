//! The parts of an ELF file that a lookup needs, read with a budget for all files together.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use object::LittleEndian as Little;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, SectionType};
use object::pod;

use crate::sys::mappings::Mapping;

/// How many bytes of all files are read in the life of the program.
const MOST_BYTES: u64 = 64 << 20;

static TAKEN: AtomicU64 = AtomicU64::new(0);

/// A file, with its lists of segments and sections.
#[derive(Debug)]
pub(super) struct Elf {
    file: File,
    segments: Vec<Segment>,
    sections: Vec<SectionHeader64<Little>>,
    names: Vec<u8>,
}

/// A piece of code in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    offset: u64,
    bytes: u64,
    address: u64,
}

/// The contents of a section, and where it lies in memory.
#[derive(Default)]
pub(super) struct Section {
    pub(super) address: u64,
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes.len(), self.address)
    }
}

impl Segment {
    /// Returns the address of what is at an offset in the file.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        let within = offset.checked_sub(self.offset)?;
        (within < self.bytes).then(|| self.address.checked_add(within))?
    }

    /// Returns the address that those of the file are relative to, if this begins within a mapping of it. The mapping
    /// begins with a whole page.
    pub(super) fn base(&self, mapping: &Mapping<'_>) -> Option<u64> {
        let within = self.offset.checked_sub(mapping.offset)?;
        let start = mapping.range.start.checked_add(within)?;
        mapping
            .range
            .contains(&start)
            .then(|| start.checked_sub(self.address))?
    }
}

impl Elf {
    /// Returns `None` if it is no such file of 64 bits, or the budget is used up.
    pub(super) fn read(file: File) -> Option<Self> {
        let header = read(&file, 0, size_of::<FileHeader64<Little>>() as u64)?;
        let (header, _) = pod::from_bytes::<FileHeader64<Little>>(&header).ok()?;
        let identity = header.e_ident;
        let is_known = identity.magic == elf::ELFMAG
            && identity.class == elf::ELFCLASS64
            && identity.data == elf::ELFDATA2LSB;
        if !is_known {
            return None;
        }
        let segments: Vec<ProgramHeader64<Little>> = list(
            &file,
            header.e_phoff.get(Little),
            header.e_phnum.get(Little),
        )?;
        let segments = segments.iter().filter(|segment| {
            segment.p_type.get(Little) == elf::PT_LOAD
                && segment.p_flags.get(Little).contains(elf::PF_X)
        });
        let segments = segments.map(|segment| Segment {
            offset: segment.p_offset.get(Little),
            bytes: segment.p_filesz.get(Little),
            address: segment.p_vaddr.get(Little),
        });
        let segments = segments.collect();
        let sections: Vec<SectionHeader64<Little>> = list(
            &file,
            header.e_shoff.get(Little),
            header.e_shnum.get(Little),
        )?;
        let names = sections.get(usize::from(header.e_shstrndx.get(Little).0));
        let names = names
            .and_then(|names| contents(&file, names))
            .unwrap_or_default();
        Some(Self {
            file,
            segments,
            sections,
            names: names.bytes,
        })
    }

    /// Returns where its code is.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns a section. It is empty if there is none.
    pub(super) fn section(&self, name: &[u8]) -> Section {
        let section = self.header_of(name);
        section
            .and_then(|section| contents(&self.file, section))
            .unwrap_or_default()
    }

    /// Returns where a section is in memory, or 0 if there is none.
    pub(super) fn address_of_section(&self, name: &[u8]) -> u64 {
        let section = self.header_of(name);
        section.map_or(0, |section| section.sh_addr.get(Little))
    }

    fn header_of(&self, name: &[u8]) -> Option<&SectionHeader64<Little>> {
        self.sections.iter().find(|section| {
            let at = usize::try_from(section.sh_name.get(Little)).unwrap_or(usize::MAX);
            let found = self.names.get(at..).unwrap_or_default();
            found.split(|byte| *byte == 0).next() == Some(name)
        })
    }

    /// Returns the first section of a kind, and the one that holds its names.
    pub(super) fn section_with_names(&self, kind: SectionType) -> Option<(Section, Section)> {
        let mut sections = self.sections.iter();
        let section = sections.find(|section| section.sh_type.get(Little) == kind)?;
        let names = usize::try_from(section.sh_link.get(Little)).ok()?;
        let names = contents(&self.file, self.sections.get(names)?)?;
        Some((contents(&self.file, section)?, names))
    }
}

fn contents(file: &File, section: &SectionHeader64<Little>) -> Option<Section> {
    if section.sh_type.get(Little) == elf::SHT_NOBITS {
        return None;
    }
    Some(Section {
        address: section.sh_addr.get(Little),
        bytes: read(
            file,
            section.sh_offset.get(Little),
            section.sh_size.get(Little),
        )?,
    })
}

fn list<T: pod::Pod>(file: &File, offset: u64, count: u16) -> Option<Vec<T>> {
    let bytes = read(file, offset, u64::from(count) * size_of::<T>() as u64)?;
    let (list, _) = pod::slice_from_bytes::<T>(&bytes, usize::from(count)).ok()?;
    Some(list.to_vec())
}

/// Reads a part of a file, if the budget allows.
fn read(file: &File, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    let end = offset.checked_add(bytes)?;
    if end > file.metadata().ok()?.len() {
        return None;
    }
    let take = |taken: u64| {
        taken
            .checked_add(bytes)
            .filter(|taken| *taken <= MOST_BYTES)
    };
    TAKEN
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .ok()?;
    let mut read = vec![0; usize::try_from(bytes).ok()?];
    file.read_exact_at(&mut read, offset).ok()?;
    Some(read)
}
