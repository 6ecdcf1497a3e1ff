# For machines with node-gyp but without CMake (phones). CMakeLists.txt is the source of truth; both read native/sources.json.
# node-addon-api is used by its include directory only: a dependency on its .gyp file would bring back android_ndk_path.
{
  "variables": {
    "android_ndk_path%": ""
  },
  "targets": [
    {
      "target_name": "lutra",
      "sources": [
        "<!@(node -p \"Object.values(require('./native/sources.json')).flat().map((file) => 'native/' + file).join(' ')\")"
      ],
      "include_dirs": [
        "native",
        "<!(node -p \"require('node-addon-api').include_dir\")"
      ],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-O3"],
      "cflags_cc": ["-std=c++20", "-O2", "-fexceptions", "-frtti", "-fvisibility=hidden", "-ffp-contract=off"],
      "libraries": ["-ldl", "-lpthread"],
      "ldflags": ["-Wl,-z,nodelete", "-Wl,--version-script=<(module_root_dir)/native/napi/exports.map"],
      "conditions": [
        ["OS=='android'", { "libraries!": ["-lpthread"], "ldflags": ["-static-libstdc++", "-Wl,-z,max-page-size=16384"] }]
      ]
    }
  ]
}
