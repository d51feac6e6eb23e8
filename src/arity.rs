//! The numbers of arguments that functions can have.

/// Invokes a macro for each number of arguments from 1 to 16, with a name, a type and an index for
/// each argument.
macro_rules! for_each_arity_but_none {
    ($macro:ident) => {
        $macro! { a0 A0 0 }
        $macro! { a0 A0 0, a1 A1 1 }
        $macro! { a0 A0 0, a1 A1 1, a2 A2 2 }
        $macro! { a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3 }
        $macro! { a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4 }
        $macro! { a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5 }
        $macro! { a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6 }
        $macro! { a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7 }
        $macro! { a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8 }
        $macro! {
            a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8,
            a9 A9 9
        }
        $macro! {
            a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8,
            a9 A9 9, a10 A10 10
        }
        $macro! {
            a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8,
            a9 A9 9, a10 A10 10, a11 A11 11
        }
        $macro! {
            a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8,
            a9 A9 9, a10 A10 10, a11 A11 11, a12 A12 12
        }
        $macro! {
            a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8,
            a9 A9 9, a10 A10 10, a11 A11 11, a12 A12 12, a13 A13 13
        }
        $macro! {
            a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8,
            a9 A9 9, a10 A10 10, a11 A11 11, a12 A12 12, a13 A13 13, a14 A14 14
        }
        $macro! {
            a0 A0 0, a1 A1 1, a2 A2 2, a3 A3 3, a4 A4 4, a5 A5 5, a6 A6 6, a7 A7 7, a8 A8 8,
            a9 A9 9, a10 A10 10, a11 A11 11, a12 A12 12, a13 A13 13, a14 A14 14, a15 A15 15
        }
    };
}

/// Does the same for each number of arguments from 0 to 16.
macro_rules! for_each_arity {
    ($macro:ident) => {
        $macro! {}
        for_each_arity_but_none! { $macro }
    };
}
