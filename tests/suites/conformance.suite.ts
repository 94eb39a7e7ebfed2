import { runTogether } from './together';

runTogether('conformance');
