//! The memory of the process.

#![expect(unsafe_code, reason = "the allocator's options are set through its C interface")]

/// `mi_option_allow_large_os_pages` in mimalloc's header, versions 2 and 3.
const ALLOW_LARGE_OS_PAGES: i32 = 6;

/// Lets the allocator ask for large pages. Searches read vectors at random places: with pages of 4 KiB, a good part of their
/// time goes into finding the pages. To be called before anything large is allocated.
pub fn use_large_pages() {
    // SAFETY: the option exists in the bundled version, and setting it has no preconditions.
    unsafe { libmimalloc_sys::mi_option_set_enabled(ALLOW_LARGE_OS_PAGES, true) };
}
