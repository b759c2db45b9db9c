# One version for recipes, image and bundle: that of the checkout's Cargo.toml.
def floorcast_version(d):
    manifest = os.path.join(d.getVar('FLOORCAST_SOURCE'), 'Cargo.toml')
    if not os.path.exists(manifest):
        raise bb.parse.SkipRecipe("FLOORCAST_SOURCE = '%s' is no checkout of Floorcast" % d.getVar('FLOORCAST_SOURCE'))
    with open(manifest) as lines:
        for line in lines:
            if line.startswith('version = "'):
                return line.split('"')[1]
    bb.fatal("%s has no version" % manifest)

FLOORCAST_VERSION ?= "${@floorcast_version(d)}"
# What changes a task is the version, not how it is read.
# nooelint: oelint.vars.mispell - the name is ours
FLOORCAST_VERSION[vardepvalue] = "${FLOORCAST_VERSION}"

# Read again when it changes.
python () {
    bb.parse.mark_dependency(d, os.path.join(d.getVar('FLOORCAST_SOURCE'), 'Cargo.toml'))
}
