/** Must be evaluated before arktype itself: it reads its configuration once. */
import { configure } from "arktype/config";

configure({ jitless: true });
