//! Long values through memory that a program shares with its child: that they are the same, that the memory is
//! used, and that a hostile child gains nothing.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod pools;
mod values;

fn main() {
    crossmist::init();
    support::main(
        support::all(&[values::CASES, pools::CASES, hostile::CASES]),
        &[],
    );
}
