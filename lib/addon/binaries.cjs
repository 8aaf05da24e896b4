// The binaries of the package. `require` with a literal path is the form that bundlers follow to a `.node` file.
// The build copies this file to dist/, and the paths are those from there.
module.exports = {
  'linux-x64-gnu': () => require('../prebuilds/linux-x64-gnu.node'),
  'linux-x64-musl': () => require('../prebuilds/linux-x64-musl.node'),
  'linux-arm64-gnu': () => require('../prebuilds/linux-arm64-gnu.node'),
  'linux-arm64-musl': () => require('../prebuilds/linux-arm64-musl.node'),
};
