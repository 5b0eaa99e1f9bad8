// /docs: Scalar's reference of openapi.json. See vendor/scalar/README.md.

// The parts of Scalar that validate would try `eval`, which the page's policy forbids, to see whether they may.
globalThis.__zod_globalConfig = { jitless: true };

// Samples are in curl, JavaScript's fetch, and Python's http.client and requests.
const others = ["c", "clojure", "csharp", "dart", "fsharp", "go", "http", "java", "julia", "kotlin", "node", "objc", "ocaml"]
  .concat(["php", "powershell", "r", "ruby", "rust", "swift"]);
const hiddenClients = {
  ...Object.fromEntries(others.map((language) => [language, true])),
  shell: ["httpie", "wget"],
  js: ["axios", "jquery", "ofetch", "xhr"],
  python: ["aiohttp", "httpx_async", "httpx_sync"],
};

// Once Scalar's own script has run.
addEventListener("DOMContentLoaded", () => {
  Scalar.createApiReference("#docs", {
    url: "openapi.json",
    authentication: {
      preferredSecurityScheme: "bearer",
      securitySchemes: { bearer: { token: document.documentElement.dataset.token ?? "" } },
    },
    hiddenClients,
    defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
    // What would ask other hosts, or lead to them.
    agent: { disabled: true },
    mcp: { disabled: true },
    hideClientButton: true,
    showDeveloperTools: "never",
    telemetry: false,
    withDefaultFonts: false,
  });
});
