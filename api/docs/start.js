SwaggerUIBundle({
  url: "/openapi.yaml",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // No outside request: neither a validator nor a query parameter that loads another document.
  validatorUrl: null,
  queryConfigEnabled: false,
});
