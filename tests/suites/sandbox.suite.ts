import { runTogether } from './together';

runTogether('sandbox');
