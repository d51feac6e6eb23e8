//! Shared allocations: new ones and earlier ones.

use super::{Decoder, Shared};
use crate::object::DecodeError;

impl<'m> Decoder<'m> {
    /// Reads a shared allocation: an earlier one, or a new one, which `contents` reads.
    pub(crate) fn shared<T: Clone + 'static>(
        &mut self,
        contents: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        match self.byte()? {
            0 => {
                let outside = std::mem::replace(&mut self.deepest, self.depth);
                let before = self.taken();
                let referenced_outside = std::mem::take(&mut self.referenced);
                let result = contents(self);
                let bytes = self.taken().saturating_sub(before);
                let weight = bytes.saturating_add(self.referenced);
                let height = self.deepest.saturating_sub(self.depth);
                // Also after an error, because an implementation may then try something else.
                self.deepest = self.deepest.max(outside);
                self.referenced = self.referenced.saturating_add(referenced_outside);
                let object = result?;
                self.shared.push(Shared {
                    object: Box::new(object.clone()),
                    height,
                    weight,
                });
                Ok(object)
            }
            1 => self.earlier(),
            tag => Err(self.error("0 or 1, for a new or an earlier shared object", tag)),
        }
    }

    /// Reads a reference to a shared allocation, which must be complete.
    fn earlier<T: Clone + 'static>(&mut self) -> Result<T, DecodeError> {
        let number = u32::from_le_bytes(self.array()?);
        let shared = usize::try_from(number)
            .ok()
            .and_then(|number| self.shared.get(number));
        let Some((shared, object)) =
            shared.and_then(|shared| Some((shared, shared.object.downcast_ref::<T>()?)))
        else {
            return Err(DecodeError::new(
                self.position(),
                format!("the number of a complete `{}`", std::any::type_name::<T>()),
                number,
            ));
        };
        // A chain of references would be as deep as it is long, and its drop would recurse as deep.
        let deepest = self.depth.saturating_add(shared.height);
        if deepest > self.limits.nesting {
            return Err(self.too_deep());
        }
        if self.in_key {
            match self.key_weight_left.checked_sub(shared.weight) {
                Some(left) => self.key_weight_left = left,
                None => {
                    return Err(DecodeError::new(
                        self.position(),
                        "keys that share less",
                        format_args!("a reference to {} bytes", shared.weight),
                    ));
                }
            }
        }
        self.deepest = self.deepest.max(deepest);
        self.referenced = self.referenced.saturating_add(shared.weight);
        Ok(object.clone())
    }
}
