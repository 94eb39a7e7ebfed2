import { runTogether } from './together';

runTogether('http');
