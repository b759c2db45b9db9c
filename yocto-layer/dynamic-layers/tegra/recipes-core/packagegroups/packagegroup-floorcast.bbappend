# nvv4l2h264enc. The Orin Nano has no encoder: the plugin is there, and its trial fails.
RDEPENDS:${PN}-encoder:append:tegra = " gstreamer1.0-plugins-nvvideo4linux2 gstreamer1.0-plugins-nvvidconv"
