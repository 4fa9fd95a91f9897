//! Size classes: every 16 bytes up to 128, four to a power of two above, up to 8 KiB.
//!
//! Objects of a class lie behind each other from the start of a granule on, so an object's alignment is the
//! power of two in its size.

use crate::layout::{CLASSES, GRANULE, PAGE};

/// Bytes of the largest small object.
pub(crate) const SMALL_MAX: usize = 8 << 10;
const SIZES: [u32; CLASSES] = sizes();

const fn sizes() -> [u32; CLASSES] {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < 8 {
        sizes[class] = (class as u32 + 1) * 16;
        class += 1;
    }
    while class < CLASSES {
        let power = (class as u32 - 8) / 4;
        let quarter = (class as u32 - 8) % 4 + 1;
        sizes[class] = (128 << power) + quarter * (32 << power);
        class += 1;
    }
    sizes
}

/// Bytes of an object of `class`.
pub(crate) fn size_of_class(class: usize) -> usize {
    SIZES[class] as usize
}

/// Objects of `class` in a granule.
pub(crate) fn objects_of_class(class: usize) -> usize {
    GRANULE / size_of_class(class)
}

/// The smallest class for an object; `None` if it is a large one.
pub(crate) fn class_for(bytes: usize, align: usize) -> Option<usize> {
    if bytes > SMALL_MAX || align > PAGE {
        return None;
    }
    let first = if bytes <= 128 {
        bytes.div_ceil(16).max(1) - 1
    } else {
        let power = (bytes - 1).ilog2() as usize;
        8 + (power - 7) * 4 + (((bytes - 1) >> (power - 2)) & 3)
    };
    (first..CLASSES).find(|class| size_of_class(*class).is_multiple_of(align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        assert_eq!(size_of_class(CLASSES - 1), SMALL_MAX);
        for bytes in 0..=SMALL_MAX {
            let class = class_for(bytes, 1).unwrap();
            assert!(size_of_class(class) >= bytes);
            assert!(class == 0 || size_of_class(class - 1) < bytes, "{bytes}");
        }
        for power in 0..=12 {
            let align = 1 << power;
            for bytes in [1, 16, 100, 129, 4000, 5000, SMALL_MAX] {
                let class = class_for(bytes, align).unwrap();
                assert!(size_of_class(class) >= bytes && size_of_class(class).is_multiple_of(align));
            }
        }
        assert_eq!(class_for(SMALL_MAX + 1, 1), None);
        assert_eq!(class_for(1, 2 * PAGE), None);
    }
}
