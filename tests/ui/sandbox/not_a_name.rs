use crossmist::func;

#[func(sandbox)]
fn none() {}

#[func(sandbox = 5)]
fn number() {}

#[func(sandbox = "pure", sandbox = "parser")]
fn two() {}

#[func(wall_time = "2s")]
fn without_a_sandbox() {}

fn main() {}
