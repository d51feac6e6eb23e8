//! Maps, sets, queues and lists.
/// A hasher that keyed collisions can not defeat.
pub trait TrustedHasher: std::hash::BuildHasher + Default + 'static {}
impl TrustedHasher for std::hash::RandomState {}
