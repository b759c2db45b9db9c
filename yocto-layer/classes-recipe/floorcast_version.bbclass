# One version for recipes, image and bundle: that of the checkout's Cargo.toml.
def floorcast_manifest(d):
    return os.path.join(d.getVar('FLOORCAST_SOURCE'), 'Cargo.toml')

def floorcast_version(d):
    if os.path.exists(floorcast_manifest(d)):
        with open(floorcast_manifest(d)) as lines:
            for line in lines:
                if line.startswith('version = "'):
                    return line.split('"')[1]
    return '0'

FLOORCAST_VERSION ?= "${@floorcast_version(d)}"
# What changes a task is the version, not how it is read.
FLOORCAST_VERSION[vardepvalue] = "${FLOORCAST_VERSION}"

# Read again when it changes.
python () {
    bb.parse.mark_dependency(d, floorcast_manifest(d))
    if d.getVar('FLOORCAST_VERSION') == '0':
        raise bb.parse.SkipRecipe("FLOORCAST_SOURCE = '%s' is no checkout of Floorcast" % d.getVar('FLOORCAST_SOURCE'))
}
