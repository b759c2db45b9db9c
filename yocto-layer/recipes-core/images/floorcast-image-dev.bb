SUMMARY = "A Floorcast box for a desk: never for a floor"
DESCRIPTION = "The production image with a root that needs no password, SSH, and tools."

require floorcast-image.inc

IMAGE_FEATURES += "allow-empty-password allow-root-login empty-root-password ssh-server-dropbear tools-debug"
IMAGE_INSTALL += "floorcast-demo gstreamer1.0-plugins-base-videotestsrc v4l-utils"
