import { runTogether } from './together';

runTogether('events');
