//! The parts of an ELF file that a lookup needs, read with budgets for all files together.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use object::LittleEndian as Little;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, SectionType};
use object::pod;

use crate::sys::mappings::Mapping;

/// How many bytes of files may be kept.
#[derive(Debug)]
pub(super) struct Budget {
    most: u64,
    taken: AtomicU64,
}

/// Bytes that were taken from a budget. They are given back when this is dropped.
#[derive(Debug)]
struct Taken(&'static Budget, u64);

impl Budget {
    pub(super) const fn new(most: u64) -> Self {
        Self {
            most,
            taken: AtomicU64::new(0),
        }
    }

    fn take(&'static self, bytes: u64) -> Option<Taken> {
        let take = |taken: u64| {
            let taken = taken.checked_add(bytes)?;
            (taken <= self.most).then_some(taken)
        };
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .ok()?;
        Some(Taken(self, bytes))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// A file, with its lists of segments and sections.
#[derive(Debug)]
pub(super) struct Elf {
    file: Source,
    segments: Vec<Segment>,
    sections: Vec<SectionHeader64<Little>>,
    names: Section,
}

/// A file, and the budget for what is read of it.
#[derive(Debug)]
struct Source {
    file: File,
    bytes: u64,
    budget: &'static Budget,
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
    _taken: Option<Taken>,
}

impl Section {
    /// Forgets the contents, but gives nothing back.
    pub(super) fn without_bytes(self) -> Self {
        Self {
            bytes: Vec::new(),
            ..self
        }
    }

    /// Contents that are in no file.
    #[cfg(test)]
    pub(super) fn of_bytes(address: u64, bytes: Vec<u8>) -> Self {
        Self {
            address,
            bytes,
            _taken: None,
        }
    }
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
    pub(super) fn read(file: File, budget: &'static Budget) -> Option<Self> {
        let bytes = file.metadata().ok()?.len();
        let file = Source {
            file,
            bytes,
            budget,
        };
        let header = file.read(0, size_of::<FileHeader64<Little>>() as u64)?;
        let (header, _) = pod::from_bytes::<FileHeader64<Little>>(&header.bytes).ok()?;
        let identity = header.e_ident;
        let is_known = identity.magic == elf::ELFMAG
            && identity.class == elf::ELFCLASS64
            && identity.data == elf::ELFDATA2LSB;
        if !is_known {
            return None;
        }
        let segments: Vec<ProgramHeader64<Little>> =
            file.list(header.e_phoff.get(Little), header.e_phnum.get(Little))?;
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
        let sections: Vec<SectionHeader64<Little>> =
            file.list(header.e_shoff.get(Little), header.e_shnum.get(Little))?;
        let names = sections.get(usize::from(header.e_shstrndx.get(Little).0));
        let names = names
            .and_then(|names| file.contents(names))
            .unwrap_or_default();
        Some(Self {
            file,
            segments,
            sections,
            names,
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
            .and_then(|section| self.file.contents(section))
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
            let found = self.names.bytes.get(at..).unwrap_or_default();
            let rest = found.strip_prefix(name);
            rest.is_some_and(|rest| rest.first() == Some(&0))
        })
    }

    /// Returns the first section of a kind, and the one that holds its names.
    pub(super) fn section_with_names(&self, kind: SectionType) -> Option<(Section, Section)> {
        let mut sections = self.sections.iter();
        let section = sections.find(|section| section.sh_type.get(Little) == kind)?;
        let names = usize::try_from(section.sh_link.get(Little)).ok()?;
        let names = self.sections.get(names)?;
        // Nothing is read if there is no room for both.
        let bytes = [section, names].map(|section| section.sh_size.get(Little));
        drop(self.file.budget.take(bytes[0].checked_add(bytes[1])?)?);
        Some((self.file.contents(section)?, self.file.contents(names)?))
    }
}

impl Source {
    fn contents(&self, section: &SectionHeader64<Little>) -> Option<Section> {
        if section.sh_type.get(Little) == elf::SHT_NOBITS {
            return None;
        }
        let read = self.read(section.sh_offset.get(Little), section.sh_size.get(Little))?;
        Some(Section {
            address: section.sh_addr.get(Little),
            ..read
        })
    }

    fn list<T: pod::Pod>(&self, offset: u64, count: u16) -> Option<Vec<T>> {
        let read = self.read(offset, u64::from(count) * size_of::<T>() as u64)?;
        let (list, _) = pod::slice_from_bytes::<T>(&read.bytes, usize::from(count)).ok()?;
        Some(list.to_vec())
    }

    /// Reads a part of the file, if the budget allows.
    fn read(&self, offset: u64, bytes: u64) -> Option<Section> {
        if offset.checked_add(bytes)? > self.bytes {
            return None;
        }
        let taken = self.budget.take(bytes)?;
        let mut read = vec![0; usize::try_from(bytes).ok()?];
        self.file.read_exact_at(&mut read, offset).ok()?;
        Some(Section {
            address: 0,
            bytes: read,
            _taken: Some(taken),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BUDGET: Budget = Budget::new(32 << 20);

    fn own() -> File {
        File::open("/proc/self/exe").unwrap()
    }

    #[test]
    fn a_budget_is_given_back() {
        let taken = || BUDGET.taken.load(Ordering::Relaxed);
        let file = Elf::read(own(), &BUDGET).unwrap();
        let before = taken();
        let (index, frames) = (file.section(b".eh_frame_hdr"), file.section(b".eh_frame"));
        let bytes = (index.bytes.len() + frames.bytes.len()) as u64;
        assert!(!index.bytes.is_empty() && index.bytes.len() < frames.bytes.len());
        assert_eq!(taken(), before + bytes);
        drop((index, frames));
        assert_eq!(taken(), before);
        // A name that only begins like a section's, or only ends like one.
        for other in [&b".eh_fram"[..], b"eh_frame", b".eh_frame_hdr\0"] {
            assert!(file.section(other).bytes.is_empty());
        }
        drop(file);
        assert_eq!(taken(), 0);
        // One that can't be read gives back what was taken.
        assert!(Elf::read(File::open("/dev/null").unwrap(), &BUDGET).is_none());
        assert_eq!(taken(), 0);
    }

    #[test]
    fn nothing_is_read_beyond_a_budget() {
        static LITTLE: Budget = Budget::new(64);
        assert!(Elf::read(own(), &LITTLE).is_none());
        assert_eq!(LITTLE.taken.load(Ordering::Relaxed), 0);
        assert!(LITTLE.take(u64::MAX).is_none());
        let all = LITTLE.take(64).unwrap();
        assert!(LITTLE.take(1).is_none() && LITTLE.take(0).is_some());
        drop(all);
        assert!(LITTLE.take(1).is_some());
    }
}
