/**
 * Frames between the server and the compile child: those of frames.ts, with types of their own. The
 * `execution` of a frame numbers the request.
 */

// child → parent
export const FRAME_COMPILE_READY = 96; // payload: empty; execution 0
export const FRAME_COMPILED = 97; // payload: JSON CompileResult

// parent → child
export const FRAME_COMPILE = 98; // payload: JSON CompileRequest

/** The descriptor on which the child finds its end of the socket pair. */
export const compileChildFd = 3;
