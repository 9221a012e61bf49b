/** Files of the page, imported `with { type: "file" }`: Bun gives their paths, also in a binary. */
declare module "swagger-ui-dist/*" {
  const path: string;
  export default path;
}
