//! Finds functions in the sources that name a sandbox.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crossmist_policy::{Library, Policy, Raised};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::Visit;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token};

/// A `sandbox = "name"`, and where it is.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) policy: String,
    /// The function's name.
    pub(crate) function: String,
    pub(crate) file: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    pub(crate) source_line: String,
    /// The limits in `raise(…)`, with their values.
    pub(crate) raises: Vec<(String, String)>,
}

/// Returns the limits that `raise(…)` among the arguments of an attribute names.
fn raises(arguments: &Punctuated<Meta, Token![,]>) -> Vec<(String, String)> {
    let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
    let lists = arguments.iter().filter_map(|argument| match argument {
        Meta::List(list) if list.path.is_ident("raise") => list.parse_args_with(parser).ok(),
        _ => None,
    });
    let pairs = lists.flatten().filter_map(|argument| match argument {
        Meta::NameValue(pair) => match (pair.path.get_ident(), &pair.value) {
            (
                Some(key),
                Expr::Lit(ExprLit {
                    lit: Lit::Str(value),
                    ..
                }),
            ) => Some((key.to_string(), value.value())),
            _ => None,
        },
        _ => None,
    });
    pairs.collect()
}

/// Returns what a function raises of its policy, as far as that can be raised.
pub(crate) fn raised(library: &dyn Library, found: &Use) -> Vec<Raised> {
    if found.raises.is_empty() {
        return Vec::new();
    }
    let Ok(policy) = Policy::load(library, &found.policy) else {
        return Vec::new();
    };
    let each = found.raises.iter();
    each.filter_map(|(key, value)| policy.raise(&[(key, value)]).ok())
        .flat_map(|(_, raised)| raised)
        .collect()
}

/// Finds them in everything that cargo builds of a package, from the root files of its targets,
/// through `mod`.
///
/// A file that cannot be read, or is not Rust, is ignored: the compiler reports it.
pub(crate) fn scan(roots: &[PathBuf]) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut seen = BTreeSet::new();
    // A file, and the folder of the modules that it declares.
    let mut files: Vec<_> = roots
        .iter()
        .map(|root| {
            (
                root.clone(),
                root.parent().unwrap_or(Path::new("/")).to_owned(),
            )
        })
        .collect();
    while let Some((file, folder)) = files.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let Ok(parsed) = syn::parse_file(&text) else {
            continue;
        };
        let mut finder = Finder {
            file: &file,
            text: &text,
            folder,
            modules: &mut files,
            uses: &mut uses,
        };
        finder.visit_file(&parsed);
    }
    uses.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    uses
}

struct Finder<'f> {
    file: &'f Path,
    text: &'f str,
    /// The folder of the modules that are declared here.
    folder: PathBuf,
    modules: &'f mut Vec<(PathBuf, PathBuf)>,
    uses: &'f mut Vec<Use>,
}

impl Finder<'_> {
    fn attributes(&mut self, attributes: &[Attribute], function: &syn::Ident) {
        for attribute in attributes {
            let is_ours = attribute
                .path()
                .segments
                .last()
                .is_some_and(|segment| segment.ident == "func");
            let Meta::List(list) = &attribute.meta else {
                continue;
            };
            if !is_ours {
                continue;
            }
            let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
            let Ok(arguments) = parser.parse2(list.tokens.clone()) else {
                continue;
            };
            for argument in &arguments {
                let Meta::NameValue(pair) = argument else {
                    continue;
                };
                let Expr::Lit(ExprLit {
                    lit: Lit::Str(name),
                    ..
                }) = &pair.value
                else {
                    continue;
                };
                if !pair.path.is_ident("sandbox") {
                    continue;
                }
                let start = name.span().start();
                let line = self.text.lines().nth(start.line.saturating_sub(1));
                self.uses.push(Use {
                    policy: name.value(),
                    function: function.to_string(),
                    file: self.file.to_owned(),
                    line: start.line,
                    column: start.column + 1,
                    source_line: line.unwrap_or_default().to_owned(),
                    raises: raises(&arguments),
                });
            }
        }
    }
}

impl Finder<'_> {
    /// Reads the file of `mod name;`.
    fn module(&mut self, item: &syn::ItemMod) {
        let name = item.ident.to_string();
        let name = name.trim_start_matches("r#");
        let path = item
            .attrs
            .iter()
            .find_map(|attribute| match &attribute.meta {
                Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(path),
                        ..
                    }) => Some(path.value()),
                    _ => None,
                },
                _ => None,
            });
        let beside = self.file.parent().unwrap_or(Path::new("/"));
        match path {
            Some(path) => {
                let file = beside.join(path);
                let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
                self.modules.push((file, folder));
            }
            None => {
                let within = self.folder.join(name);
                self.modules
                    .push((self.folder.join(format!("{name}.rs")), within.clone()));
                self.modules.push((within.join("mod.rs"), within));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        match &item.content {
            None => self.module(item),
            Some(_) => {
                let folder = self.folder.join(item.ident.to_string());
                let outer = std::mem::replace(&mut self.folder, folder);
                syn::visit::visit_item_mod(self, item);
                self.folder = outer;
            }
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.attributes(&item.attrs, &item.sig.ident);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.attributes(&item.attrs, &item.sig.ident);
        syn::visit::visit_impl_item_fn(self, item);
    }
}
