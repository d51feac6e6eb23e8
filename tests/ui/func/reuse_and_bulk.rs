use crossmist::func;

#[func(sandbox = "parser", reuse = 10)]
fn without_spares() {}

#[func(sandbox = "parser", spares = 2, reuse = 1)]
fn answers_one_call_anyway() {}

#[func(sandbox = "parser", spares = 0)]
fn nobody_waits() {}

#[func(sandbox = "parser", spares = 2, reuse = "always", bulk = true)]
fn of_another_kind(_text: String) {}

#[func(callback, bulk)]
fn starts_no_child(_text: String) {}

#[func(bulk)]
fn has_nothing_to_send() {}

fn main() {}
