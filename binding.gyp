# The release build, by node-gyp. It stays out of the npm package: npm would invent an install script from it.
# CMakeLists.txt is the developer's build of the same sources, and scripts/prebuild makes the binary that ships.
# Needs .cache/libbpf and .cache/static/default, which scripts/libbpf makes.
{
  'target_defaults': {
    'configurations': {
      # Node's own -O3 and -fno-omit-frame-pointer make the addon a fifth larger and nothing in it faster.
      'Release': { 'cflags!': [ '-O3', '-fno-omit-frame-pointer' ], 'cflags': [ '-O2' ] },
    },
  },
  'targets': [
    {
      'target_name': 'node_ebpf',
      'sources': [ '<!@(LC_ALL=C; ls native/*.cc native/*/*.cc)' ],
      'include_dirs': [
        'native',
        'native/elf',
        '.cache/libbpf/headers',
        '.cache/libbpf/src',
      ],
      # No 'defines': native/base/napi_setup.h holds the settings of Node-API.
      'cflags': [
        '-Wall',
        '-Wextra',
        '-Werror',
        '-fvisibility=hidden',
        '-ffunction-sections',
        '-fdata-sections',
        '-ffile-prefix-map=<(module_root_dir)/=',
        # Warnings are errors in our sources, and not in those of others.
        '-isystem <(module_root_dir)/<!(node -p "require(\'node-addon-api\').include_dir")',
      ],
      'cflags!': [ '-Wno-unused-parameter' ],
      'cflags_cc!': [ '-std=gnu++14', '-std=gnu++17', '-std=gnu++20' ],
      'cflags_cc': [ '-std=c++17', '-fno-exceptions', '-fno-rtti' ],
      'libraries': [ '<(module_root_dir)/.cache/static/default/libbpf.a' ],
      # node-gyp wants the addon to find what node exports, and nobody to find what the addon has.
      'ldflags!': [ '-rdynamic' ],
      'ldflags': [
        '-static-libstdc++',
        '-static-libgcc',
        '-Wl,--exclude-libs,ALL',
        '-Wl,--version-script=<(module_root_dir)/native/exports.map',
        '-Wl,-z,relro,-z,now',
        # A process whose main thread does not load the addon unloads it with each worker that ends, and the next one's
        # libstdc++ allocates its 72 kB for exceptions anew, which nothing frees.
        '-Wl,-z,nodelete',
        '-Wl,--gc-sections',
        '-Wl,--build-id=none',
        # g++ takes it only weakly, and node's libstdc++, if it has one to share, would fill it in.
        '-Wl,-u,__cxa_pure_virtual',
      ],
    },
  ],
}
