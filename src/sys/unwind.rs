//! Reads the return addresses of this thread's stack with the unwinder that panics use. It opens no
//! file and makes no system call.

use std::ffi::{c_int, c_void};

use super::image::{self, Image};

/// How many addresses are taken, starting with the innermost one.
pub(crate) const MOST_ADDRESSES: usize = 64;

/// Offsets in this program's image, or 0 for code elsewhere.
#[derive(Debug)]
pub(crate) struct Walk {
    offsets: [u64; MOST_ADDRESSES],
    taken: usize,
    image: &'static Image,
}

/// The unwinder's context, which is opaque here.
#[repr(C)]
struct Context {
    _private: [u8; 0],
}

/// `_URC_NO_REASON` continues the walk, and `_URC_NORMAL_STOP` ends it.
const GO_ON: c_int = 0;
const STOP: c_int = 4;

// Of the C++ ABI's "level I", in the library that std is linked to for unwinding panics.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        visit: unsafe extern "C" fn(*mut Context, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
}

impl Walk {
    /// Walks the stack outwards from here. Allocates nothing.
    pub(crate) fn from_here() -> Option<Self> {
        let mut walk = Self {
            offsets: [0; MOST_ADDRESSES],
            taken: 0,
            image: image::image()?,
        };
        // SAFETY: `visit` is called with the pointer that is given here, before this returns, and
        // doesn't unwind. Nobody else has the walk until then.
        unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
        Some(walk)
    }

    pub(crate) fn offsets(&self) -> &[u64] {
        self.offsets.get(..self.taken).unwrap_or_default()
    }
}

/// Takes one address.
///
/// # Safety
///
/// The unwinder must call it, with its context, and `data` must point to a [`Walk`] that nobody else uses
/// meanwhile.
unsafe extern "C" fn visit(context: *mut Context, data: *mut c_void) -> c_int {
    // SAFETY: the caller vouches for the pointer.
    let walk = unsafe { &mut *data.cast::<Walk>() };
    let Some(offset) = walk.offsets.get_mut(walk.taken) else {
        return STOP;
    };
    // SAFETY: the caller is the unwinder, whose context is valid until this returns.
    let address = unsafe { _Unwind_GetIP(context) };
    *offset = walk.image.offset_of_return(address).unwrap_or(0);
    walk.taken += 1;
    GO_ON
}
