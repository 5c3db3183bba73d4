//! The memory of the process.

#![expect(unsafe_code, reason = "the allocator's options are set through its C interface")]

use libmimalloc_sys::{mi_option_large_os_pages, mi_option_set, mi_option_set_enabled};

/// `mi_option_minimal_purge_size` in the header of mimalloc 3, in KiB.
const MINIMAL_PURGE_SIZE: i32 = 44;

/// KiB of a large page.
const LARGE_PAGE: std::ffi::c_long = 2048;

/// Lets the allocator ask for large pages, and give them back whole. Searches read vectors at random places: with pages of 4 KiB,
/// a good part of their time goes into finding the pages; and a large page of which a part is given back is many small ones
/// from then on, as those of a collection that grew would be. To be called before anything large is allocated.
pub fn use_large_pages() {
    // SAFETY: the options exist in the bundled version, and setting them has no preconditions.
    unsafe {
        mi_option_set_enabled(mi_option_large_os_pages, true);
        mi_option_set(MINIMAL_PURGE_SIZE, LARGE_PAGE);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn options_have_the_numbers_of_the_bundled_version() {
        // SAFETY: it returns a number.
        let version = unsafe { libmimalloc_sys::mi_version() };
        // Major, and two digits each of minor and patch.
        assert_eq!(version / 10_000, 3, "look the numbers up in the header of {version}");
    }
}
