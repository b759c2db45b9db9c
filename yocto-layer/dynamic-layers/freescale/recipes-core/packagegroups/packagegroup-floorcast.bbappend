# NXP's own kernel has the encoder behind NXP's own plugin (vpuenc_h264); the mainline one decodes only.
RDEPENDS:${PN}-encoder:append:mx8mp-nxp-bsp = " imx-gst1.0-plugin"
RDEPENDS:${PN}-encoder:append:mx8mm-nxp-bsp = " imx-gst1.0-plugin"
