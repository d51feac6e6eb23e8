//! The program's own image: where it is in memory, and references to records in its read-only data.
//!
//! A reference is an offset from the image's base, so that it means the same in every process of
//! the executable, wherever the loader has put it. It leads to a [`Target`], which begins with what
//! it claims to be. Reading it checks the claim first, so a wrong or forged reference is refused
//! and never called.

use std::any::TypeId;
use std::os::raw::{c_int, c_void};
use std::sync::OnceLock;

/// A record that code references lead to. It is always a constant in read-only data.
#[derive(Debug)]
#[repr(C)]
pub struct Target<V> {
    claim: Claim,
    value: V,
}

/// The beginning of a [`Target`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Claim {
    magic: [u64; 2],
    /// The type of the value.
    id: TypeId,
}

/// The bytes at a place where a [`Claim`] may be. Any bytes are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Found {
    magic: [u64; 2],
    id: [u64; 2],
}

impl Found {
    /// Returns what is found at the beginning of a `Target<V>`.
    fn claim_of<V: 'static>() -> Self {
        // The program must not hold the value anywhere but in its records, as a constant for this function
        // would.
        let [first, second] = std::hint::black_box([!MAGIC[0], !MAGIC[1]]);
        // SAFETY: the types have one size, which `transmute` checks. An id is a number of 128 bits, whatever
        // the standard library makes it of, so no byte of it is padding.
        let id = unsafe { std::mem::transmute::<TypeId, [u64; 2]>(TypeId::of::<V>()) };
        Self {
            magic: [!first, !second],
            id,
        }
    }
}

/// A random value, which other data is unlikely to contain by accident.
const MAGIC: [u64; 2] = [0x9d3f_6a1e_52c8_b707, 0x41e0_d6f3_8b2a_c95d];

impl<V: Copy + 'static> Target<V> {
    /// Creates a record of `value`, which must be promoted: `const { &Target::new(…) }`.
    pub const fn new(value: V) -> Self {
        Self {
            claim: Claim {
                magic: MAGIC,
                id: TypeId::of::<V>(),
            },
            value,
        }
    }

    /// Returns the reference that leads to it in every process of this executable, or `None` if it
    /// is in a shared object.
    pub fn reference(&'static self) -> Option<u64> {
        let image = image()?;
        let address = std::ptr::from_ref(self).addr();
        image
            .contains(address, size_of::<Self>())
            .then(|| (address - image.base) as u64)
    }

    /// Returns the value of the record that `reference` leads to, if there is one and it holds a
    /// `V`.
    pub fn resolve(reference: u64) -> Option<V> {
        let image = image()?;
        let address = image.base.checked_add(usize::try_from(reference).ok()?)?;
        let readable = image.contains(address, size_of::<Self>());
        if !readable || !address.is_multiple_of(align_of::<Self>()) {
            return None;
        }
        let target = std::ptr::with_exposed_provenance::<Self>(address);
        const { assert!(size_of::<Found>() == size_of::<Claim>()) };
        const { assert!(align_of::<Found>() <= align_of::<Claim>()) };
        // SAFETY: the address is aligned, and as many bytes as a whole `Target<V>` has lie within one
        // segment that stays mapped, readable and unwritten as long as the program runs. Any bytes are
        // valid.
        let found = unsafe { target.cast::<Found>().read() };
        if found != Found::claim_of::<V>() {
            return None;
        }
        // SAFETY: as above for the memory. Only `Target::new` writes this
        // claim, of 256 bits that name the type, into read-only data, as part of a whole `Target<V>`.
        Some(unsafe { &*target }.value)
    }
}

/// Returns whether the records of this program are in memory that is not written once the program
/// runs. They hold addresses, which the loader fills in. It can protect them afterwards only if the
/// linker told it to (RELRO).
pub(crate) fn keeps_records_read_only() -> bool {
    fn anything() {}
    let record: &'static Target<fn()> = const { &Target::new(anything as fn()) };
    record.reference().is_some()
}

/// The main program in memory.
#[derive(Debug)]
pub(crate) struct Image {
    base: usize,
    /// Address and length of what can be read, and is not written once the program runs.
    read_only: Vec<(usize, usize)>,
    /// Address and length of everything.
    loaded: Vec<(usize, usize)>,
    /// Address and length of what is code, and of what is code that can be read as well.
    code: Vec<(usize, usize)>,
    readable_code: Vec<(usize, usize)>,
    /// The program headers, as bytes.
    pub(crate) headers: Vec<u8>,
}

impl Image {
    fn contains(&self, address: usize, length: usize) -> bool {
        within(&self.read_only, address, length)
    }

    /// Returns the offset of a return address, or of the address after an instruction. `None` if it
    /// is not in this image. Async-signal-safe.
    pub(crate) fn offset_of_return(&self, address: usize) -> Option<u64> {
        // It belongs to the instruction before it, which may be the last one.
        within(&self.code, address.checked_sub(1)?, 1).then(|| (address - self.base) as u64)
    }

    /// Returns whether some of its code begins in a range of addresses.
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    pub(crate) fn has_code_in(&self, range: &std::ops::Range<u64>) -> bool {
        let mut code = self.code.iter();
        code.any(|(start, _)| range.contains(&(*start as u64)))
    }

    /// Returns its base address. Async-signal-safe.
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// Returns the return address with this offset, or `None` if there is no code of this image.
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    pub(crate) fn return_at(&self, offset: u64) -> Option<usize> {
        let address = self.base.checked_add(usize::try_from(offset).ok()?)?;
        within(&self.code, address.checked_sub(1)?, 1).then_some(address)
    }

    /// Returns whether the instruction before the address with this offset is a call, which returns to it.
    pub(crate) fn is_after_call(&self, offset: u64) -> bool {
        let address = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.base.checked_add(offset));
        let start = address.and_then(|address| address.checked_sub(CALL_BYTES));
        let Some(start) = start.filter(|start| within(&self.readable_code, *start, CALL_BYTES))
        else {
            return false;
        };
        let code = std::ptr::with_exposed_provenance::<[u8; CALL_BYTES]>(start);
        // SAFETY: as many bytes lie within a segment of code that stays mapped, readable and unwritten as long as the
        // program runs. Any bytes are valid.
        ends_with_call(unsafe { code.read() })
    }
}

/// The longest instruction that is recognized as a call.
pub(crate) const CALL_BYTES: usize = 8;

/// Whether the last of these bytes may be an instruction that calls: `call` to an address relative to it, or to one in
/// a register or in memory.
#[cfg(target_arch = "x86_64")]
pub(crate) fn ends_with_call(code: [u8; CALL_BYTES]) -> bool {
    const RELATIVE: u8 = 0xe8;
    const INDIRECT: u8 = 0xff;
    let [_, b, c, d, e, f, g, h] = code;
    // The operation is in the middle three bits of the byte behind. The others say how long the operand is.
    let is_indirect = |first: u8, operand: u8| first == INDIRECT && operand >> 3 & 7 == 2;
    d == RELATIVE
        || is_indirect(g, h)
        || is_indirect(f, g)
        || is_indirect(e, f)
        || is_indirect(c, d)
        || is_indirect(b, c)
}

/// Whether the last of these bytes are an instruction that calls: `bl` or `blr`.
#[cfg(target_arch = "aarch64")]
pub(crate) fn ends_with_call(code: [u8; CALL_BYTES]) -> bool {
    let [.., a, b, c, d] = code;
    let last = u32::from_le_bytes([a, b, c, d]);
    last >> 26 == 0b10_0101 || last & 0xffff_fc1f == 0xd63f_0000
}

fn within(ranges: &[(usize, usize)], address: usize, length: usize) -> bool {
    ranges.iter().any(|&(start, size)| {
        address
            .checked_sub(start)
            .is_some_and(|offset| offset.checked_add(length).is_some_and(|end| end <= size))
    })
}

/// Returns the image of the main program. `None` if this code is not part of it but of a shared
/// object, so that a new process of the executable would not have it.
pub(crate) fn image() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            let mut found: Option<Image> = None;
            // SAFETY: `dl_iterate_phdr(3)` calls the function with the pointer that it is given,
            // before it returns.
            unsafe { libc::dl_iterate_phdr(Some(first_object), (&raw mut found).cast()) };
            let own = image as fn() -> Option<&'static Image> as usize;
            found.filter(|image| within(&image.loaded, own, 1))
        })
        .as_ref()
}

/// Records the first object, which is the main program, and ends the iteration.
unsafe extern "C" fn first_object(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: the structure describes this many headers, which stay mapped.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    // SAFETY: the same memory as bytes, which any structure is made of.
    let bytes =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr.cast::<u8>(), size_of_val(headers)) };
    let base = info.dlpi_addr as usize;
    let range = |header: &libc::Elf64_Phdr| {
        (
            base.wrapping_add(header.p_vaddr as usize),
            header.p_memsz as usize,
        )
    };
    let loads = || {
        headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
    };
    let code = |flags: u32| {
        let of_code = loads().filter(move |header| header.p_flags & flags == flags);
        let range = |header: &libc::Elf64_Phdr| {
            let (start, length) = range(header);
            // Some linkers put code into the segment that begins with the file's headers.
            let before = match header.p_offset {
                0 => size_of::<libc::Elf64_Ehdr>().saturating_add(bytes.len()),
                _ => 0,
            };
            (start.wrapping_add(before), length.saturating_sub(before))
        };
        of_code.map(range).collect()
    };
    let image = Image {
        base,
        // Constants that hold addresses lie in what is protected after relocation.
        read_only: headers
            .iter()
            .filter(|header| {
                header.p_type == libc::PT_GNU_RELRO
                    || header.p_type == libc::PT_LOAD
                        && header.p_flags & (libc::PF_R | libc::PF_W) == libc::PF_R
            })
            .map(range)
            .collect(),
        loaded: loads().map(range).collect(),
        code: code(libc::PF_X),
        readable_code: code(libc::PF_X | libc::PF_R),
        headers: bytes.to_vec(),
    };
    // SAFETY: `data` is the pointer to an `Option<Image>` that the caller passed.
    unsafe { *data.cast::<Option<Image>>() = Some(image) };
    1
}

/// Returns the same box with another type for its contents.
///
/// # Safety
///
/// A `Box<E>` must have the layout of a `Box<D>`, and its contents must be an `E`.
pub(crate) unsafe fn reinterpret_box<D: ?Sized, E: ?Sized>(object: Box<D>) -> Box<E> {
    const { assert!(size_of::<Box<D>>() == size_of::<Box<E>>()) };
    let object = std::mem::ManuallyDrop::new(object);
    // SAFETY: the sizes are equal, the caller vouches for the rest, and the original is not
    // dropped.
    unsafe { std::mem::transmute_copy(&*object) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type that no record holds.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Unrecorded(u64);

    /// Returns how often a claim is in what can be read of this program.
    fn occurrences(claim: Found) -> usize {
        let ranges = &image().unwrap().read_only;
        let count = |&(start, length): &(usize, usize)| {
            let words = start.next_multiple_of(8)..start + length - size_of::<Found>();
            let is_claim = |address: &usize| {
                let found = std::ptr::with_exposed_provenance::<Found>(*address);
                // SAFETY: within a segment that can be read, aligned, and any bytes are valid.
                unsafe { found.read() == claim }
            };
            words.step_by(8).filter(is_claim).count()
        };
        // The segment that is protected after relocation can be a part of another.
        ranges.iter().map(count).max().unwrap_or(0)
    }

    #[test]
    fn what_looks_like_a_record_is_one() {
        // The function that looks for a record has to know what it begins with.
        assert_eq!(Target::<Unrecorded>::resolve(8), None);
        assert_eq!(occurrences(Found::claim_of::<Unrecorded>()), 0);
        // The control.
        let record: &'static Target<u64> = const { &Target::new(7u64) };
        let reference = record.reference().unwrap();
        assert_eq!(Target::<u64>::resolve(reference), Some(7));
        assert_ne!(occurrences(Found::claim_of::<u64>()), 0);
        // A record of another type is none of this one.
        assert_eq!(Target::<Unrecorded>::resolve(reference), None);
    }
}
