//! The imports of each file, with the files that they come from.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Path, UseTree, Visibility};

/// For each module the modules that it imports from. A name that a module only passes on counts as
/// that of the module that defines it.
pub(crate) fn between(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let parsed: BTreeMap<String, syn::File> = files
        .iter()
        .map(|(file, text)| (module(file), syn::parse_file(text).expect(file)))
        .collect();
    let exports: BTreeMap<&String, BTreeMap<String, Vec<String>>> = parsed
        .iter()
        .map(|(module, file)| (module, exports(module, file)))
        .collect();
    parsed
        .iter()
        .map(|(module, file)| {
            let mut found = Found::in_module(module);
            found.visit_file(file);
            let sources = found.paths.iter().filter_map(|path| {
                let mut path = path.clone();
                // Each step follows one name that is passed on.
                for _ in 0..8 {
                    let (source, name) = longest(&path, &parsed)?;
                    match exports[&source].get(name.as_deref().unwrap_or_default()) {
                        Some(origin) => path = origin.clone(),
                        None => return Some(source),
                    }
                }
                None
            });
            let sources = sources.filter(|source| source != module && !source.is_empty());
            (module.clone(), sources.collect())
        })
        .collect()
}

/// The groups of modules that import each other.
pub(crate) fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = imports
        .keys()
        .map(|module| {
            let mut reached = BTreeSet::new();
            let mut waiting = vec![module];
            while let Some(next) = waiting.pop() {
                let imported = imports.get(next).into_iter().flatten();
                waiting.extend(imported.filter(|other| reached.insert(*other)));
            }
            (module, reached)
        })
        .collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        if others.contains(module) {
            let circle = others
                .iter()
                .filter(|other| reached[*other].contains(module));
            circles.insert(circle.map(|other| (*other).clone()).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

/// The module of a file.
fn module(file: &str) -> String {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" => String::new(),
        "private" => "__private".to_owned(),
        path => path.replace('/', "::"),
    }
}

/// The module that a path leads into, and the name in it.
fn longest(
    path: &[String],
    modules: &BTreeMap<String, syn::File>,
) -> Option<(String, Option<String>)> {
    (0..=path.len()).rev().find_map(|length| {
        let (module, rest) = path.split_at_checked(length)?;
        let module = module.join("::");
        modules
            .contains_key(&module)
            .then(|| (module, rest.first().cloned()))
    })
}

/// Returns the names that a module re-exports, and where each is from.
fn exports(module: &str, file: &syn::File) -> BTreeMap<String, Vec<String>> {
    let mut exports = BTreeMap::new();
    for item in &file.items {
        let Item::Use(item) = item else { continue };
        if is_passed_on(item) {
            for (name, path) in leaves(&item.tree) {
                if let Some(path) = absolute(module, path) {
                    exports.insert(name, path);
                }
            }
        }
    }
    exports
}

fn is_passed_on(item: &ItemUse) -> bool {
    !matches!(item.vis, Visibility::Inherited)
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let test = |list: &syn::MetaList| list.tokens.to_string() == "test";
        attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(test)
    })
}

/// The paths of a `use`, each with the name that it introduces.
fn leaves(tree: &UseTree) -> Vec<(String, Vec<String>)> {
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let below = leaves(&path.tree).into_iter();
            below
                .map(|(name, rest)| {
                    let name = if name == "self" { first.clone() } else { name };
                    let rest = rest.into_iter().filter(|part| part != "self");
                    (name, std::iter::once(first.clone()).chain(rest).collect())
                })
                .collect()
        }
        UseTree::Name(name) => vec![(name.ident.to_string(), vec![name.ident.to_string()])],
        UseTree::Rename(name) => vec![(name.rename.to_string(), vec![name.ident.to_string()])],
        UseTree::Glob(_) => vec![("*".to_owned(), Vec::new())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// The path from the root of the crate, if it is one of this crate.
fn absolute(module: &str, path: Vec<String>) -> Option<Vec<String>> {
    let mut own: Vec<String> = module.split("::").map(str::to_owned).collect();
    own.retain(|part| !part.is_empty());
    let mut rest = path.into_iter().peekable();
    match rest.peek()?.as_str() {
        "crate" => {
            rest.next();
            own.clear();
        }
        "self" => {
            rest.next();
        }
        "super" => {
            while rest.next_if(|part| part == "super").is_some() {
                own.pop();
            }
        }
        _ => return None,
    }
    own.extend(rest);
    Some(own)
}

struct Found<'m> {
    module: &'m str,
    paths: Vec<Vec<String>>,
}

impl<'m> Found<'m> {
    fn in_module(module: &'m str) -> Self {
        Self {
            module,
            paths: Vec::new(),
        }
    }
}

impl<'a> Visit<'a> for Found<'_> {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if !is_passed_on(item) && !is_for_tests(&item.attrs) {
            let paths = leaves(&item.tree).into_iter();
            self.paths
                .extend(paths.filter_map(|(_, path)| absolute(self.module, path)));
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        // The module of a file's tests, which may import anything; no other has a body.
        if !is_for_tests(&item.attrs) && item.content.is_some() {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_visibility(&mut self, _: &'a Visibility) {
        // `pub(super)` imports nothing.
    }

    fn visit_path(&mut self, path: &'a Path) {
        let parts = path.segments.iter().map(|part| part.ident.to_string());
        self.paths.extend(absolute(self.module, parts.collect()));
        visit::visit_path(self, path);
    }
}
