import { runTogether } from './together';

runTogether('pairing');
