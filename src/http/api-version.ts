/** The HTTP API's version: `/api/v1`. docs/versioning.md says what raises it. */
export const apiVersion = "1";

/** Of the document that describes it: the second number counts what was added since the first rose. */
export const apiDocumentVersion = "1.0";
