// Stands in the page itself and runs before all else: making the offer's keys takes longer
// than reading the rest.

import { begin } from "./offer";

window.floorcastEarly = begin();
