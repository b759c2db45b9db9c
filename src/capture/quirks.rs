//! Faults of GStreamer's releases that must be worked round before it starts.

/// The first release whose V4L2 elements return their buffers wherever they stop.
const RETURNS_BUFFERS: (u32, u32, u32) = (1, 22, 3);

/// Call once, before anything else.
///
/// Up to 1.22.2 (Debian 12 has 1.22.0) a V4L2 element that stops forgets a
/// reference to its buffer pool if the driver can disown buffers (`REQBUFS(0)`
/// with some still out): the device stays open and the buffers mapped, once for
/// each stop (`gst_v4l2_object_stop`). Told to drain, it lets the pool go with the
/// last of its pictures instead.
///
/// # Safety
/// No other thread may read or write the environment meanwhile.
pub unsafe fn work_round() {
    let (major, minor, micro, _) = gstreamer::version();
    if must_drain((major, minor, micro)) {
        // SAFETY: as above.
        unsafe { std::env::set_var("GST_V4L2_FORCE_DRAIN", "1") };
    }
}

fn must_drain(version: (u32, u32, u32)) -> bool {
    version < RETURNS_BUFFERS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Releases without the fault go on disowning: that frees the device at once.
    #[test]
    fn only_faulty_releases_drain() {
        assert!(must_drain((1, 22, 0)) && must_drain((1, 22, 2)) && must_drain((1, 20, 7)));
        assert!(!must_drain((1, 22, 3)) && !must_drain((1, 24, 0)) && !must_drain((2, 0, 0)));
    }
}
